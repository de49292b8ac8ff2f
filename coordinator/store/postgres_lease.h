// Decides which of several coordinators on one PostgreSQL leads: a lease in a row, and a number that fences earlier
// leaders.
//
// This is a lease, not a session's advisory lock: such a lock is lost with its connection, so that a coordinator that
// still believes in it and another one would both write; and a stopped process holds it for as long as its connection
// is open. The lease expires by the database's clock, so the coordinators' clocks do not matter. The lease alone would
// still allow a late write by a coordinator that was stopped. Therefore each leader has a number, one larger than the
// last, and every transaction that writes begins by changing the row of that number (see PostgresGuard). With an old
// number there is no such row and the transaction fails; a new leader, which changes the row too, waits for
// transactions in progress, so the state that it then reads is final.
//
// Not thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/postgres.h"

namespace regroup {

class PostgresLease {
 public:
  /// Connects, and creates the two rows if they are missing. `address` is the one that other coordinators tell callers
  /// to use.
  static absl::StatusOr<std::unique_ptr<PostgresLease>> Open(const std::string& url, const std::string& address,
                                                             std::chrono::milliseconds duration);

  /// Takes the lease if it is free. Returns the fencing number of the new leader, or nothing.
  absl::StatusOr<std::optional<int64_t>> TryTake();
  /// Renews the lease for another duration. Returns false if another coordinator has taken it since.
  absl::StatusOr<bool> Renew(int64_t fencing);
  /// Releases the lease, so that another can take it at once. Nothing may be written afterwards.
  absl::Status Release(int64_t fencing);
  /// Returns the address of the lease's holder; empty if there is none.
  absl::StatusOr<std::string> Holder();

  /// Returns the guard for the leader's writing connection.
  static PostgresGuard Guard(int64_t fencing);
  /// Returns the statements that every connection begins with; with them, the server rolls back transactions that are
  /// idle for long.
  static std::string Session();
  /// Creates the schema and the rows of the lease if they are missing.
  static absl::Status MakeTables(PostgresConnection& connection);

 private:
  PostgresLease(std::unique_ptr<PostgresConnection> connection, std::string address, std::chrono::milliseconds duration)
      : connection_(std::move(connection)), address_(std::move(address)), duration_(duration) {}

  const std::unique_ptr<PostgresConnection> connection_;
  const std::string address_;
  const std::chrono::milliseconds duration_;
};

}  // namespace regroup
