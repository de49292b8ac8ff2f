// Which of several coordinators on one PostgreSQL leads: a lease in a row, and a number that fences off those before.
//
// A lease and not an advisory lock of a session: a lock is gone with its connection, and then a coordinator that still
// believes in it and another one would both write; and it is held for as long as a stopped process keeps its connection
// open. The lease runs out by the database's own clock, so the coordinators' clocks do not matter. It alone would still
// let a coordinator that slept write late. So each leader has a number, one larger than the last, and every
// transaction that writes begins by changing the row of that number (see PostgresGuard): with an old number there is no
// such row and the transaction does not happen, and a new leader, which changes the row too, waits for those that were
// in it. What it then reads is final.
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
  /// Connects and makes the two rows where they are missing. `address` is what others are told to call.
  static absl::StatusOr<std::unique_ptr<PostgresLease>> Open(const std::string& url, const std::string& address,
                                                             std::chrono::milliseconds duration);

  /// Takes the lease if nobody has it. The fencing number of the new leader, or nothing.
  absl::StatusOr<std::optional<int64_t>> TryTake();
  /// Holds it for another duration. False where somebody else has taken it since.
  absl::StatusOr<bool> Renew(int64_t fencing);
  /// Lets others take it at once. Nothing may be written afterwards.
  absl::Status Release(int64_t fencing);
  /// The address of whoever holds it; empty where nobody does.
  absl::StatusOr<std::string> Holder();

  /// For the connection that the leader writes over.
  static PostgresGuard Guard(int64_t fencing);
  /// What every connection begins with; a transaction that stands still for long is rolled back by the server.
  static std::string Session();
  /// Makes the schema and the rows of the lease, where they are missing.
  static absl::Status MakeTables(PostgresConnection& connection);

 private:
  PostgresLease(std::unique_ptr<PostgresConnection> connection, std::string address, std::chrono::milliseconds duration)
      : connection_(std::move(connection)), address_(std::move(address)), duration_(duration) {}

  const std::unique_ptr<PostgresConnection> connection_;
  const std::string address_;
  const std::chrono::milliseconds duration_;
};

}  // namespace regroup
