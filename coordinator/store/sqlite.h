// A thin wrapper of SQLite's C interface: what a store needs, with errors as absl::Status. It contains no SQL of the
// store.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/sql.h"

namespace regroup {

/// A prepared statement in use; reset and returned to its connection on destruction.
class SqliteRows : public SqlRows {
 public:
  /// Binds the values; Next returns an error of this.
  SqliteRows(sqlite3_stmt* statement, const std::vector<SqlValue>& values);

  absl::StatusOr<bool> Next() override;
  int64_t Integer(int column) const override { return sqlite3_column_int64(statement_.get(), column); }
  std::string_view Bytes(int column) const override;

 private:
  struct Reset {
    void operator()(sqlite3_stmt* statement) const {
      sqlite3_reset(statement);
      sqlite3_clear_bindings(statement);
    }
  };

  std::unique_ptr<sqlite3_stmt, Reset> statement_;
  int error_ = SQLITE_OK;
};

/// One connection. Not thread-safe.
class SqliteConnection : public SqlConnection {
 public:
  /// Opens the file, and creates it if it is missing; a file without content gets checksums (checksum_vfs.h) if wanted.
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::filesystem::path& path,
                                                                bool with_checksums = true);

  /// Returns true if the file's header says that its pages have checksums.
  bool HasChecksums();
  /// Returns the number of pages read so far that had none all the same.
  int64_t PagesWithoutChecksum();
  /// Rewrites the file so that every page has a checksum.
  absl::Status AddChecksums();

  /// Leaves the log as it is when the connection ends; otherwise the last connection empties it into the file.
  void KeepLog();

  /// Runs statements and discards their results.
  absl::Status Execute(const std::string& sql);
  /// Runs a statement that returns no rows.
  absl::Status Run(const SqlCommand& command);

  absl::StatusOr<std::unique_ptr<SqlRows>> Query(const SqlCommand& command) override;
  absl::Status Apply(const std::vector<SqlCommand>& commands) override;

 private:
  struct Close {
    void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  friend class SqliteCopy;

  explicit SqliteConnection(sqlite3* connection) : connection_(connection) {}

  // Declared first so that it is destroyed last: statements must go before their connection. Each text is compiled
  // once.
  std::unique_ptr<sqlite3, Close> connection_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>, std::less<>> statements_;
};

/// Copies one database into another, a few pages at a time; changes made through the first connection meanwhile are
/// included. Both connections must outlive it.
class SqliteCopy {
 public:
  static absl::StatusOr<SqliteCopy> Start(SqliteConnection& from, SqliteConnection& to);

  /// Copies some pages. Returns true when the copy is complete.
  absl::StatusOr<bool> CopyPages(int pages);

 private:
  struct Finish {
    void operator()(sqlite3_backup* backup) const { sqlite3_backup_finish(backup); }
  };

  explicit SqliteCopy(sqlite3_backup* backup) : backup_(backup) {}

  std::unique_ptr<sqlite3_backup, Finish> backup_;
};

/// Returns DATA_LOSS for a page that does not match its checksum, UNAVAILABLE (STORE_UNAVAILABLE) if the medium or a
/// lock is at fault, otherwise INTERNAL.
absl::Status SqliteStatus(int code, const std::string& message);

}  // namespace regroup
