// JobStore in a PostgreSQL database, in a schema named regroup: synchronous_commit on, one transaction per commit.
//
// Several coordinators may have it open; only the one that leads (PostgresLease) may write. A commit of one that does
// not lead any more is refused with UNAVAILABLE (NOT_LEADER), and so is one of which it could not be found out whether
// it happened: then the coordinator must stop, for what it remembers may not be what is stored.
#pragma once

#include <memory>
#include <string>

#include "coordinator/store/postgres.h"
#include "coordinator/store/sql_job_store.h"

namespace regroup {

class PostgresJobStore : public SqlJobStore {
 public:
  /// Connects, without changing anything but what the lease needs. UNAVAILABLE where no server answers;
  /// FAILED_PRECONDITION where it is too old, not in UTF-8, or only takes reads.
  static absl::StatusOr<std::unique_ptr<PostgresJobStore>> Open(const std::string& url);

  /// Writes with this fencing number from now on: brings the tables up to date and checks them. FAILED_PRECONDITION
  /// where a newer version of Regroup made them; DATA_LOSS where something of them is missing.
  absl::Status Lead(int64_t fencing);

  /// UNIMPLEMENTED: the server's own tools do it.
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

/// The connection's address in a file that holds a postgresql:// URL, so that no password stands on a command line.
absl::StatusOr<std::string> ReadStoreUrl(const std::string& file);

}  // namespace regroup
