#include "coordinator/store/sqlite.h"

#include <fmt/format.h>

#include "services/rpc/status.h"

namespace regroup {

absl::StatusOr<bool> SqliteStatement::Step() {
  if (error_ == SQLITE_OK) {
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    error_ = code;
  }
  return SqliteStatus(error_, sqlite3_errmsg(sqlite3_db_handle(statement_.get())));
}

std::string_view SqliteStatement::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? std::string_view() : std::string_view(static_cast<const char*>(bytes), size);
}

void SqliteStatement::BindNext(std::string_view value) {
  // Text, also for blobs: SQLite stores the bytes as they are, and shows readable ones in its shell.
  Note(sqlite3_bind_text64(statement_.get(), ++bound_, value.data() == nullptr ? "" : value.data(), value.size(),
                           SQLITE_TRANSIENT, SQLITE_UTF8));
}

absl::StatusOr<SqliteConnection> SqliteConnection::Open(const std::filesystem::path& path) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  SqliteConnection connection(raw);
  if (code != SQLITE_OK) {
    return SqliteStatus(code, fmt::format("cannot open {}: {}", path.string(), sqlite3_errstr(code)));
  }
  sqlite3_extended_result_codes(raw, 1);
  return connection;
}

absl::Status SqliteConnection::Execute(const std::string& sql) {
  const int code = sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : SqliteStatus(code, sqlite3_errmsg(connection_.get()));
}

absl::StatusOr<SqliteStatement> SqliteConnection::Prepare(const std::string& sql) {
  auto& statement = statements_[sql];
  if (statement == nullptr) {
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v3(connection_.get(), sql.c_str(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    if (code != SQLITE_OK) return SqliteStatus(code, sqlite3_errmsg(connection_.get()));
    statement.reset(raw);
  }
  return SqliteStatement(statement.get());
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
  switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_NOMEM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return MakeError(absl::StatusCode::kUnavailable, v1::STORE_UNAVAILABLE,
                       fmt::format("the store cannot be used: {}", message));
    default:
      return absl::InternalError(fmt::format("store: {} ({})", message, sqlite3_errstr(code)));
  }
}

}  // namespace regroup
