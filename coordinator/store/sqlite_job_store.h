// JobStore in one SQLite file: write-ahead log, synchronous FULL, one connection, one transaction per commit.
//
// The file is locked for as long as the store is open: a second coordinator on the same folder is rejected.
#pragma once

#include <filesystem>
#include <memory>

#include "coordinator/store/sql_job_store.h"
#include "coordinator/store/sqlite.h"

namespace regroup {

struct SqliteJobStoreOptions {
  std::filesystem::path path;
  /// Largest size in pages of 4096 bytes; 0 means no limit.
  int64_t max_pages = 0;
};

class SqliteJobStore : public SqlJobStore {
 public:
  /// Opens or creates the file, checks it and migrates its tables to this version. FAILED_PRECONDITION if a newer
  /// version of Regroup created it; DATA_LOSS, with the way out, if it is damaged or empty. A new file gets its name
  /// once it is complete, so an empty one is never new.
  static absl::StatusOr<std::unique_ptr<SqliteJobStore>> Open(const SqliteJobStoreOptions& options);

  absl::Status Backup(const std::filesystem::path& file) override;

 private:
  explicit SqliteJobStore(std::unique_ptr<SqliteConnection> connection)
      : SqlJobStore(connection.get()), connection_(std::move(connection)) {}

  static absl::Status Create(const std::filesystem::path& path);
  /// Checks the content and migrates it.
  absl::Status Prepare();
  absl::StatusOr<int64_t> Version();
  absl::Status Migrate();
  absl::Status CheckChecksums();
  absl::Status FillInEndTimes();
  absl::Status Check();
  absl::Status CopyTo(const std::filesystem::path& file);

  const std::unique_ptr<SqliteConnection> connection_;
};

}  // namespace regroup
