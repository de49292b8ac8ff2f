// JobStore in a PostgreSQL database, in a schema named regroup: synchronous_commit on, one transaction per commit.
//
// Several coordinators may have it open; only the leader (PostgresLease) may write. A commit by a former leader is
// rejected with UNAVAILABLE (NOT_LEADER). A commit of unknown outcome returns the same error: the coordinator must then
// stop, because its memory may differ from the store.
#pragma once

#include <memory>
#include <string>

#include "coordinator/store/postgres.h"
#include "coordinator/store/sql_job_store.h"

namespace regroup {

class PostgresJobStore : public SqlJobStore {
 public:
  /// Connects, and changes nothing but what the lease needs. UNAVAILABLE if no server answers; FAILED_PRECONDITION if
  /// it is too old, not in UTF-8, or read-only.
  static absl::StatusOr<std::unique_ptr<PostgresJobStore>> Open(const std::string& url);

  /// Writes with this fencing number from now on: migrates the tables to this version and checks them.
  /// FAILED_PRECONDITION if a newer version of Regroup created them; DATA_LOSS if parts of them are missing.
  absl::Status Lead(int64_t fencing);

  /// Returns UNIMPLEMENTED: the server's own tools make backups.
  absl::Status Backup(const std::filesystem::path& file) override;

 private:
  explicit PostgresJobStore(std::unique_ptr<PostgresConnection> connection)
      : SqlJobStore(connection.get()), connection_(std::move(connection)) {}

  absl::Status CheckServer();
  absl::StatusOr<int64_t> Version();
  absl::Status Migrate();
  absl::Status Check();

  const std::unique_ptr<PostgresConnection> connection_;
};

/// Reads a postgresql:// URL from a file, so that no password appears on a command line.
absl::StatusOr<std::string> ReadStoreUrl(const std::string& file);

}  // namespace regroup
