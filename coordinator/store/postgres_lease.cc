#include "coordinator/store/postgres_lease.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Limit for an idle transaction: one of a coordinator that was stopped in the middle delays the next leader for this
/// long.
constexpr std::chrono::milliseconds kLongestStandstill(1500);
constexpr std::chrono::milliseconds kShortestPatience(2000);
constexpr std::chrono::milliseconds kMargin(200);

/// Two coordinators that start at once must not both create the tables: one waits for the other.
constexpr char kTables[] = R"sql(
  SELECT pg_advisory_xact_lock(723746);
  CREATE SCHEMA IF NOT EXISTS regroup;
  CREATE TABLE IF NOT EXISTS regroup.lease (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    fencing BIGINT NOT NULL,
    address TEXT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL);
  -- Apart from the lease, which is prolonged while transactions hold their row here.
  CREATE TABLE IF NOT EXISTS regroup.term (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    fencing BIGINT NOT NULL,
    commits BIGINT NOT NULL);
  INSERT INTO regroup.lease (fencing, address, expires_at) VALUES (0, '', '-infinity') ON CONFLICT DO NOTHING;
  INSERT INTO regroup.term (fencing, commits) VALUES (0, 0) ON CONFLICT DO NOTHING;
)sql";

// clock_timestamp and not now: a statement may have waited for a lock.
constexpr char kTake[] =
    "WITH taken AS (UPDATE regroup.lease SET fencing = fencing + 1, address = $1, expires_at = clock_timestamp() + "
    "$2::BIGINT * "
    "INTERVAL '1 millisecond' WHERE expires_at < clock_timestamp() RETURNING fencing) UPDATE regroup.term SET fencing "
    "= "
    "taken.fencing, commits = 0 FROM taken RETURNING term.fencing";
constexpr char kRenew[] =
    "UPDATE regroup.lease SET expires_at = clock_timestamp() + $1::BIGINT * INTERVAL '1 millisecond' WHERE fencing = "
    "$2 "
    "RETURNING fencing";
constexpr char kRelease[] =
    "UPDATE regroup.lease SET address = '', expires_at = '-infinity' WHERE fencing = $1 RETURNING fencing";
constexpr char kHolder[] = "SELECT address FROM regroup.lease WHERE expires_at >= clock_timestamp()";
constexpr char kEnterTerm[] = "UPDATE regroup.term SET commits = commits + 1 WHERE fencing = $1 RETURNING commits";
constexpr char kLookAtTerm[] = "SELECT commits FROM regroup.term WHERE fencing = $1 FOR UPDATE";

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresLease>> PostgresLease::Open(const std::string& url, const std::string& address,
                                                                   std::chrono::milliseconds duration) {
  const auto patience = std::max(duration / 2, kShortestPatience);
  // A statement that this process no longer waits for must not take effect later.
  const std::string session = fmt::format("{}; SET statement_timeout = {}", Session(), (patience - kMargin).count());
  REGROUP_ASSIGN_OR_RETURN(auto connection,
                           PostgresConnection::Open({.url = url, .session = session, .patience = patience}));
  REGROUP_RETURN_IF_ERROR(MakeTables(*connection));
  return std::unique_ptr<PostgresLease>(new PostgresLease(std::move(connection), address, duration));
}

std::string PostgresLease::Session() {
  return fmt::format(
      "SET search_path = regroup; SET synchronous_commit = on; SET idle_in_transaction_session_timeout = {}",
      kLongestStandstill.count());
}

absl::Status PostgresLease::MakeTables(PostgresConnection& connection) { return connection.Execute(kTables); }

absl::StatusOr<std::optional<int64_t>> PostgresLease::TryTake() {
  // A leader that is stopped in the middle of a transaction locks the row of its term until the server ends it.
  REGROUP_ASSIGN_OR_RETURN(const auto rows, connection_->Query({kTake, {address_, int64_t{duration_.count()}}}));
  REGROUP_ASSIGN_OR_RETURN(const bool is_taken, rows->Next());
  return is_taken ? std::optional(rows->Integer(0)) : std::nullopt;
}

absl::StatusOr<bool> PostgresLease::Renew(int64_t fencing) {
  REGROUP_ASSIGN_OR_RETURN(const auto rows, connection_->Query({kRenew, {int64_t{duration_.count()}, fencing}}));
  return rows->Next();
}

absl::Status PostgresLease::Release(int64_t fencing) { return connection_->Query({kRelease, {fencing}}).status(); }

absl::StatusOr<std::string> PostgresLease::Holder() {
  REGROUP_ASSIGN_OR_RETURN(const auto rows, connection_->Query({kHolder, {}}));
  REGROUP_ASSIGN_OR_RETURN(const bool has_holder, rows->Next());
  return has_holder ? std::string(rows->Bytes(0)) : "";
}

PostgresGuard PostgresLease::Guard(int64_t fencing) {
  return {.enter = {kEnterTerm, {fencing}}, .look = {kLookAtTerm, {fencing}}};
}

}  // namespace regroup
