#include "coordinator/store/sqlite.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "coordinator/store/checksum_vfs.h"
#include "services/common/base/error.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"

namespace regroup {

namespace {

int BindBytes(sqlite3_stmt* statement, int position, const std::string& bytes) {
  // Bind blobs as text too: SQLite stores the bytes unchanged and its shell shows readable ones.
  return sqlite3_bind_text64(statement, position, bytes.data(), bytes.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

int Bind(sqlite3_stmt* statement, int position, const SqlValue& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return sqlite3_bind_int64(statement, position, *integer);
  if (const auto* text = std::get_if<std::string>(&value)) return BindBytes(statement, position, *text);
  return BindBytes(statement, position, std::get<SqlBlob>(value).bytes);
}

}  // namespace

SqliteRows::SqliteRows(sqlite3_stmt* statement, const std::vector<SqlValue>& values) : statement_(statement) {
  int position = 0;
  for (const SqlValue& value : values) {
    const int code = Bind(statement, ++position, value);
    if (error_ == SQLITE_OK) error_ = code;
  }
}

absl::StatusOr<bool> SqliteRows::Next() {
  if (error_ == SQLITE_OK) {
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    error_ = code;
  }
  return SqliteStatus(error_, sqlite3_errmsg(sqlite3_db_handle(statement_.get())));
}

std::string_view SqliteRows::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? std::string_view() : std::string_view(static_cast<const char*>(bytes), size);
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::filesystem::path& path,
                                                                         bool with_checksums) {
  std::error_code missing;
  const uintmax_t bytes = std::filesystem::file_size(path, missing);
  const bool is_new = missing || bytes == 0;
  // SQLite gives its log the mode of the file.
  for (const char* suffix : {"", "-wal", "-shm"}) REGROUP_RETURN_IF_ERROR(MakePrivate(path.string() + suffix));
  if (const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kPrivateFile); file >= 0) close(file);
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, ChecksumVfs());
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(raw));
  if (code != SQLITE_OK) {
    return SqliteStatus(code, fmt::format("cannot open {}: {}", path.string(), sqlite3_errstr(code)));
  }
  sqlite3_extended_result_codes(raw, 1);
  if (is_new && with_checksums) {
    int reserved = kChecksumBytes;
    sqlite3_file_control(raw, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    ChecksumEveryPage(raw);
  }
  return connection;
}

bool SqliteConnection::HasChecksums() {
  int reserved = -1;
  sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
  return reserved == kChecksumBytes;
}

int64_t SqliteConnection::PagesWithoutChecksum() { return regroup::PagesWithoutChecksum(connection_.get()); }

absl::Status SqliteConnection::AddChecksums() {
  int reserved = kChecksumBytes;
  sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
  absl::Status status = Execute("VACUUM");
  // The pages get their checksums when they move from the log into the file.
  if (status.ok()) status = Execute("PRAGMA wal_checkpoint(TRUNCATE)");
  return status;
}

void SqliteConnection::KeepLog() { sqlite3_db_config(connection_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr); }

absl::Status SqliteConnection::Execute(const std::string& sql) {
  const int code = sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : SqliteStatus(code, sqlite3_errmsg(connection_.get()));
}

absl::Status SqliteConnection::Run(const SqlCommand& command) {
  REGROUP_ASSIGN_OR_RETURN(const std::unique_ptr<SqlRows> rows, Query(command));
  return rows->Next().status();
}

absl::StatusOr<std::unique_ptr<SqlRows>> SqliteConnection::Query(const SqlCommand& command) {
  auto found = statements_.find(command.text);
  if (found == statements_.end()) {
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v3(connection_.get(), command.text.data(), static_cast<int>(command.text.size()),
                                        SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    if (code != SQLITE_OK) return SqliteStatus(code, sqlite3_errmsg(connection_.get()));
    found = statements_.emplace(std::string(command.text), raw).first;
  }
  return std::make_unique<SqliteRows>(found->second.get(), command.values);
}

absl::Status SqliteConnection::Apply(const std::vector<SqlCommand>& commands) {
  absl::Status status = Execute("BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  for (const SqlCommand& command : commands) {
    status = Run(command);
    if (!status.ok()) break;
  }
  if (status.ok()) status = Execute("COMMIT");
  // If SQLite has already rolled back by itself, this fails without harm.
  if (!status.ok()) (void)Execute("ROLLBACK");
  return status;
}

absl::StatusOr<SqliteCopy> SqliteCopy::Start(SqliteConnection& from, SqliteConnection& to) {
  sqlite3* const target = to.connection_.get();
  sqlite3_backup* const backup = sqlite3_backup_init(target, "main", from.connection_.get(), "main");
  if (backup == nullptr) return SqliteStatus(sqlite3_extended_errcode(target), sqlite3_errmsg(target));
  return SqliteCopy(backup);
}

absl::StatusOr<bool> SqliteCopy::CopyPages(int pages) {
  const int code = sqlite3_backup_step(backup_.get(), pages);
  if (code == SQLITE_OK) return false;
  if (code == SQLITE_DONE) return true;
  return SqliteStatus(code, sqlite3_errstr(code));
}

absl::Status SqliteStatus(int code, const std::string& message) {
  if (code == SQLITE_IOERR_DATA) {
    return absl::DataLossError(
        fmt::format("the store is damaged: page {} does not match its checksum; stop the coordinator and restore a "
                    "backup (deploy/OPERATIONS.md, \"Backup and restore\")",
                    LastDamagedPage()));
  }
  switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_NOMEM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    // SQLite also reports this if a read fails with EIO.
    case SQLITE_CORRUPT:
      return MakeError(absl::StatusCode::kUnavailable, v1::STORE_UNAVAILABLE,
                       fmt::format("the store cannot be used: {}", message));
    default:
      return absl::InternalError(fmt::format("store: {} ({})", message, sqlite3_errstr(code)));
  }
}

}  // namespace regroup
