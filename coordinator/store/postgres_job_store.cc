#include "coordinator/store/postgres_job_store.h"

#include <fmt/format.h>

#include <array>

#include "coordinator/store/postgres_lease.h"
#include "services/common/base/error.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// The oldest release that PostgreSQL's developers still maintain.
constexpr int kOldestServer = 130000;

/// Each entry migrates the tables from the version of its position to the next; the table `version` counts those
/// applied. Entries are never edited once released, only added. Columns are as in SqliteJobStore.
constexpr std::array<const char*, 4> kMigrations = {R"sql(
  CREATE TABLE version (number BIGINT NOT NULL);
  INSERT INTO version VALUES (0);
  CREATE TABLE jobs (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    state BIGINT NOT NULL,
    publication_granted BIGINT NOT NULL,
    job BYTEA NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    end_us BIGINT NOT NULL);
  CREATE INDEX jobs_by_state ON jobs (state, number);
  CREATE INDEX jobs_by_end ON jobs (end_us) WHERE end_us > 0;
  CREATE INDEX jobs_by_owner ON jobs (owner, number);
  CREATE TABLE tasks (
    job TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    task BYTEA NOT NULL,
    restarts_without_progress BIGINT NOT NULL,
    best_checkpoint BIGINT NOT NULL,
    internal_failures BIGINT NOT NULL,
    not_before_us BIGINT NOT NULL,
    PRIMARY KEY (job, position));
  CREATE TABLE events (
    job TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    event BYTEA NOT NULL,
    PRIMARY KEY (job, revision));
  CREATE TABLE requests (
    request_id TEXT COLLATE "C" PRIMARY KEY,
    digest TEXT NOT NULL,
    job TEXT COLLATE "C" NOT NULL);
  CREATE INDEX requests_by_job ON requests (job);
  CREATE TABLE workers (
    id TEXT COLLATE "C" PRIMARY KEY,
    worker BYTEA NOT NULL);
  CREATE TABLE logs (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job TEXT COLLATE "C" NOT NULL,
    task TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    time_us BIGINT NOT NULL,
    entry BYTEA NOT NULL);
  CREATE INDEX logs_by_job ON logs (job, number);
  CREATE TABLE metrics (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    point BYTEA NOT NULL);
  CREATE INDEX metrics_by_job ON metrics (job, number);
  CREATE TABLE audit (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time_us BIGINT NOT NULL,
    resource TEXT COLLATE "C" NOT NULL,
    entry BYTEA NOT NULL);
  CREATE INDEX audit_by_resource ON audit (resource, number);
)sql",
                                                    R"sql(
  ALTER TABLE jobs ADD COLUMN run_start_us BIGINT NOT NULL DEFAULT 0;
  ALTER TABLE tasks ADD COLUMN started_us BIGINT NOT NULL DEFAULT 0;
  ALTER TABLE tasks ADD COLUMN took_us BIGINT NOT NULL DEFAULT 0;
  CREATE TABLE clock (
    id BIGINT PRIMARY KEY,
    boot TEXT NOT NULL,
    since_boot_us BIGINT NOT NULL,
    count_us BIGINT NOT NULL);
)sql",
                                                    R"sql(
  ALTER TABLE jobs ADD COLUMN pause_start_us BIGINT NOT NULL DEFAULT 0;
)sql",
                                                    R"sql(
  CREATE TABLE deliveries (
    id TEXT COLLATE "C" PRIMARY KEY,
    hook TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    created_us BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    not_before_us BIGINT NOT NULL);
  CREATE INDEX deliveries_by_time ON deliveries (not_before_us);
)sql"};

constexpr char kVersionTable[] =
    "SELECT 1::BIGINT FROM information_schema.tables WHERE table_schema = 'regroup' AND table_name = 'version'";
constexpr char kVersion[] = "SELECT number FROM version";

/// Reads every column that is used; fails on a missing one even if the table is empty.
constexpr std::array<const char*, 10> kReads = {
    "SELECT number, id, state, publication_granted, job, owner, end_us, run_start_us, pause_start_us FROM jobs LIMIT 0",
    "SELECT job, position, task, restarts_without_progress, best_checkpoint, internal_failures, not_before_us, "
    "started_us, took_us FROM tasks LIMIT 0",
    "SELECT job, revision, event FROM events LIMIT 0",
    "SELECT request_id, digest, job FROM requests LIMIT 0",
    "SELECT id, worker FROM workers LIMIT 0",
    "SELECT number, job, task, rank, severity, time_us, entry FROM logs LIMIT 0",
    "SELECT number, job, metric, step, point FROM metrics LIMIT 0",
    "SELECT number, time_us, resource, entry FROM audit LIMIT 0",
    "SELECT id, boot, since_boot_us, count_us FROM clock LIMIT 0",
    "SELECT id, hook, body, created_us, failures, not_before_us FROM deliveries LIMIT 0"};

}  // namespace

absl::StatusOr<std::string> ReadStoreUrl(const std::string& file) {
  REGROUP_ASSIGN_OR_RETURN(std::string url, ReadFile(file));
  while (!url.empty() && std::isspace(static_cast<unsigned char>(url.back())) != 0) url.pop_back();
  if (url.starts_with("postgresql://") || url.starts_with("postgres://")) return url;
  // Do not quote the content: it may hold a password.
  return absl::InvalidArgumentError(
      fmt::format("--store-url-file {}: write one line postgresql://USER:PASSWORD@HOST/DATABASE into it", file));
}

absl::StatusOr<std::unique_ptr<PostgresJobStore>> PostgresJobStore::Open(const std::string& url) {
  REGROUP_ASSIGN_OR_RETURN(auto connection,
                           PostgresConnection::Open({.url = url, .session = PostgresLease::Session()}));
  std::unique_ptr<PostgresJobStore> store(new PostgresJobStore(std::move(connection)));
  REGROUP_RETURN_IF_ERROR(store->CheckServer());
  REGROUP_RETURN_IF_ERROR(PostgresLease::MakeTables(*store->connection_));
  REGROUP_RETURN_IF_ERROR(store->Version().status());
  return store;
}

absl::Status PostgresJobStore::CheckServer() {
  const int version = connection_->server_version();
  if (version < kOldestServer) {
    return absl::FailedPreconditionError(fmt::format("PostgreSQL has version {}.{}; use {} or later", version / 10000,
                                                     version % 10000, kOldestServer / 10000));
  }
  if (const std::string encoding = connection_->Parameter("server_encoding"); encoding != "UTF8") {
    return absl::FailedPreconditionError(
        fmt::format("the database is encoded in {}; create one with CREATE DATABASE ... ENCODING 'UTF8'", encoding));
  }
  if (connection_->Parameter("in_hot_standby") == "on" ||
      connection_->Parameter("default_transaction_read_only") == "on") {
    return absl::FailedPreconditionError(
        "the database is read-only; name the primary server, for example with target_session_attrs=read-write");
  }
  if (connection_->IsExposed()) {
    LogWarning("the connection to PostgreSQL is not encrypted; add sslmode=verify-full to its URL");
  }
  return absl::OkStatus();
}

/// Returns the version of the tables; 0 if there are none yet.
absl::StatusOr<int64_t> PostgresJobStore::Version() {
  int64_t version = 0;
  REGROUP_ASSIGN_OR_RETURN(const auto tables, connection_->Query({kVersionTable, {}}));
  REGROUP_ASSIGN_OR_RETURN(const bool has_tables, tables->Next());
  if (!has_tables) return version;
  REGROUP_ASSIGN_OR_RETURN(const auto rows, connection_->Query({kVersion, {}}));
  REGROUP_ASSIGN_OR_RETURN(const bool has_version, rows->Next());
  if (!has_version) return absl::DataLossError("the store is damaged: its version is missing");
  version = rows->Integer(0);
  if (version <= static_cast<int64_t>(kMigrations.size())) return version;
  return absl::FailedPreconditionError(
      fmt::format("the store was created by a newer Regroup (version {}, this one supports {}); run that one", version,
                  kMigrations.size()));
}

absl::Status PostgresJobStore::Lead(int64_t fencing) {
  std::lock_guard lock(mutex_);
  connection_->SetGuard(PostgresLease::Guard(fencing));
  REGROUP_RETURN_IF_ERROR(Migrate());
  return Check();
}

absl::Status PostgresJobStore::Migrate() {
  REGROUP_ASSIGN_OR_RETURN(int64_t version, Version());
  for (; version < static_cast<int64_t>(kMigrations.size()); ++version) {
    REGROUP_RETURN_IF_ERROR(
        connection_->ApplyScript(fmt::format("{} UPDATE version SET number = {}", kMigrations[version], version + 1)));
  }
  return absl::OkStatus();
}

absl::Status PostgresJobStore::Check() {
  for (const char* read : kReads) {
    const absl::Status status = connection_->Query({read, {}}).status();
    if (absl::IsInternal(status)) {
      return absl::DataLossError(fmt::format("the store is damaged: {}", std::string(status.message())));
    }
    REGROUP_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status PostgresJobStore::Backup(const std::filesystem::path&) {
  return MakeError(absl::StatusCode::kUnimplemented, v1::NOT_BUILT,
                   "the store is a PostgreSQL database; copy it with pg_dump --schema=regroup, or with your server's "
                   "own backup");
}

}  // namespace regroup
