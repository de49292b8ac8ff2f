// The little of SQLite's C interface that a store needs, with its errors as absl::Status. No SQL is written here.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// One prepared statement while it is used; returned clean to its connection afterwards. Errors are kept until Step.
class SqliteStatement {
 public:
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}
  SqliteStatement(SqliteStatement&&) = default;

  /// Values for the parameters, from the first.
  template <typename... Values>
  SqliteStatement& Bind(const Values&... values) {
    (BindNext(values), ...);
    return *this;
  }

  /// Moves to the next row; false after the last.
  absl::StatusOr<bool> Step();

  int64_t Integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  double Real(int column) const { return sqlite3_column_double(statement_.get(), column); }
  /// Text or a blob; valid until the next Step.
  std::string_view Bytes(int column) const;

 private:
  struct Reset {
    void operator()(sqlite3_stmt* statement) const {
      sqlite3_reset(statement);
      sqlite3_clear_bindings(statement);
    }
  };

  void BindNext(int64_t value) { Note(sqlite3_bind_int64(statement_.get(), ++bound_, value)); }
  void BindNext(int value) { BindNext(static_cast<int64_t>(value)); }
  void BindNext(size_t value) { BindNext(static_cast<int64_t>(value)); }
  void BindNext(double value) { Note(sqlite3_bind_double(statement_.get(), ++bound_, value)); }
  /// The bytes are copied.
  void BindNext(std::string_view value);
  void Note(int code) {
    if (error_ == SQLITE_OK) error_ = code;
  }

  std::unique_ptr<sqlite3_stmt, Reset> statement_;
  int bound_ = 0;
  int error_ = SQLITE_OK;
};

/// One connection. Not thread-safe.
class SqliteConnection {
 public:
  /// Creates the file where it is missing.
  static absl::StatusOr<SqliteConnection> Open(const std::filesystem::path& path);

  /// Runs statements that return nothing of interest.
  absl::Status Execute(const std::string& sql);

  /// A statement that is compiled once per text. The same text must not be in use twice at a time.
  absl::StatusOr<SqliteStatement> Prepare(const std::string& sql);

  /// Prepares, binds and runs a statement that returns no row.
  template <typename... Values>
  absl::Status Run(const std::string& sql, const Values&... values) {
    absl::StatusOr<SqliteStatement> statement = Prepare(sql);
    if (!statement.ok()) return statement.status();
    return statement->Bind(values...).Step().status();
  }

 private:
  struct Close {
    void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  friend class SqliteCopy;

  explicit SqliteConnection(sqlite3* connection) : connection_(connection) {}

  // Statements go before their connection.
  std::unique_ptr<sqlite3, Close> connection_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>> statements_;
};

/// A copy of one database into another, a few pages at a time; changes made through the first connection in between get
/// into it. Both connections must outlive it.
class SqliteCopy {
 public:
  static absl::StatusOr<SqliteCopy> Start(SqliteConnection& from, SqliteConnection& to);

  /// True when the copy is complete.
  absl::StatusOr<bool> CopyPages(int pages);

 private:
  struct Finish {
    void operator()(sqlite3_backup* backup) const { sqlite3_backup_finish(backup); }
  };

  explicit SqliteCopy(sqlite3_backup* backup) : backup_(backup) {}

  std::unique_ptr<sqlite3_backup, Finish> backup_;
};

/// UNAVAILABLE (STORE_UNAVAILABLE) where the medium or a lock is at fault, otherwise INTERNAL.
absl::Status SqliteStatus(int code, const std::string& message);

}  // namespace regroup
