#include "coordinator/store/sqlite_job_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "coordinator/store/write_ahead_log.h"
#include "services/common/base/error.h"
#include "services/common/base/files.h"
#include "services/common/base/final_states.h"
#include "services/common/base/logging.h"
#include "services/common/base/paths.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Each entry migrates the tables from the version of its position to the next; the file's user_version counts those
/// applied. Entries are never edited once released, only added.
constexpr std::array<const char*, 6> kMigrations = {R"sql(
  CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state INTEGER NOT NULL,
    publication_granted INTEGER NOT NULL,
    job BLOB NOT NULL);                         -- v1.Job without tasks
  CREATE INDEX jobs_by_state ON jobs (state, number);
  CREATE TABLE tasks (
    job TEXT NOT NULL,
    position INTEGER NOT NULL,
    task BLOB NOT NULL,                         -- v1.Task
    restarts_without_progress INTEGER NOT NULL,
    best_checkpoint INTEGER NOT NULL,
    internal_failures INTEGER NOT NULL,
    not_before_us INTEGER NOT NULL,
    PRIMARY KEY (job, position)) WITHOUT ROWID;
  CREATE TABLE events (
    job TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event BLOB NOT NULL,                        -- v1.JobEvent
    PRIMARY KEY (job, revision)) WITHOUT ROWID;
  CREATE TABLE requests (
    request_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    job TEXT NOT NULL) WITHOUT ROWID;
  CREATE INDEX requests_by_job ON requests (job);
  CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    worker BLOB NOT NULL) WITHOUT ROWID;        -- v1.Worker
  CREATE TABLE logs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    task TEXT NOT NULL,
    rank INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    entry BLOB NOT NULL);                       -- v1.LogEntry
  CREATE INDEX logs_by_job ON logs (job, number);
  CREATE TABLE metrics (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    metric TEXT NOT NULL,
    step INTEGER NOT NULL,
    point BLOB NOT NULL);                       -- v1.MetricPoint
  CREATE INDEX metrics_by_job ON metrics (job, number);
)sql",
                                                    R"sql(
  ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
  ALTER TABLE jobs ADD COLUMN end_us INTEGER NOT NULL DEFAULT 0;  -- 0 while the job is not final
  CREATE INDEX jobs_by_end ON jobs (end_us) WHERE end_us > 0;
  CREATE INDEX jobs_by_owner ON jobs (owner, number);
  CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time_us INTEGER NOT NULL,
    resource TEXT NOT NULL,
    entry BLOB NOT NULL);                       -- v1.AuditEntry
  CREATE INDEX audit_by_resource ON audit (resource, number);
)sql", "-- Every page has a checksum: CheckChecksums has seen to it.",
                                                    R"sql(
  -- Times on the clock of count_clock.h; 0 for none.
  ALTER TABLE jobs ADD COLUMN run_start_us INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE tasks ADD COLUMN started_us INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE tasks ADD COLUMN took_us INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE clock (
    id INTEGER PRIMARY KEY,
    boot TEXT NOT NULL,
    since_boot_us INTEGER NOT NULL,
    count_us INTEGER NOT NULL);                 -- one row, the last reading
)sql",
                                                    R"sql(
  ALTER TABLE jobs ADD COLUMN pause_start_us INTEGER NOT NULL DEFAULT 0;  -- 0 while the job is not paused
)sql",
                                                    R"sql(
  -- Events that webhooks have not received yet; times of the wall clock.
  CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    hook TEXT NOT NULL,
    body BLOB NOT NULL,                         -- JSON
    created_us INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    not_before_us INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX deliveries_by_time ON deliveries (not_before_us);
)sql"};

constexpr int64_t kVersionWithEndTimes = 2;
constexpr int64_t kVersionWithChecksums = 3;
constexpr char kWayOut[] =
    "; stop every coordinator, put a backup in its place and remove the files -wal and -shm beside it "
    "(deploy/OPERATIONS.md, \"Backup and restore\")";
/// 4 MB: a commit waits a few milliseconds for a step of a backup.
constexpr int kPagesPerStep = 1024;

/// Returns DATA_LOSS if changes that were acknowledged cannot be read from the log.
absl::Status CheckLog(const std::filesystem::path& store) {
  const std::filesystem::path log = store.string() + "-wal";
  REGROUP_ASSIGN_OR_RETURN(const std::optional<LogDamage> damage, FindLogDamage(log));
  if (!damage) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("its log {} is damaged from byte {} on{}{}; to start without the changes from there on, cut the log: "
                  "truncate -s {} {}",
                  log.filename().string(), damage->offset,
                  damage->commits > 0 ? fmt::format(", and {} commits follow", damage->commits) : "", kWayOut,
                  damage->offset, log.string()));
}

/// Returns what to do about a file that SQLite itself finds damaged.
std::string WayOutOf(const absl::Status& status) {
  const std::string message(status.message());
  const bool is_damaged =
      message.find("malformed") != std::string::npos || message.find("not a database") != std::string::npos;
  return is_damaged && message.find(kWayOut) == std::string::npos ? kWayOut : "";
}

/// Returns DATA_LOSS for what can only be left of a store: an empty file, or a log without its file.
absl::Status CheckIsWhole(const std::filesystem::path& path) {
  std::error_code missing;
  const uintmax_t bytes = std::filesystem::file_size(path, missing);
  std::error_code no_log;
  const uintmax_t log_bytes = std::filesystem::file_size(path.string() + "-wal", no_log);
  if (!missing && bytes == 0) {
    return absl::DataLossError(
        fmt::format("{} is empty: the store that was there is lost{}; to start without any job, remove it",
                    path.string(), kWayOut));
  }
  if (missing && !no_log && log_bytes > 0) {
    return absl::DataLossError(
        fmt::format("{} is missing, but its log {}-wal is there{}; to start without any job, remove {}-wal",
                    path.string(), path.filename().string(), kWayOut, path.string()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteJobStore>> SqliteJobStore::Open(const SqliteJobStoreOptions& options) {
  REGROUP_RETURN_IF_ERROR(MakePrivateFolder(options.path.parent_path()));
  REGROUP_RETURN_IF_ERROR(CheckIsWhole(options.path));
  if (!Exists(options.path)) REGROUP_RETURN_IF_ERROR(Create(options.path));
  REGROUP_ASSIGN_OR_RETURN(auto connection, SqliteConnection::Open(options.path));
  std::unique_ptr<SqliteJobStore> store(new SqliteJobStore(std::move(connection)));
  absl::Status status = store->connection_->Execute(
      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
      "BEGIN IMMEDIATE; COMMIT;");
  if (ReasonOf(status) == v1::STORE_UNAVAILABLE && std::string(status.message()).find("locked") != std::string::npos) {
    return absl::UnavailableError(fmt::format("{} is in use by another coordinator", options.path.string()));
  }
  // Nobody else writes to the log from here on, and this connection has not yet done so.
  if (status.ok()) status = CheckLog(options.path);
  if (absl::IsDataLoss(status)) store->connection_->KeepLog();
  if (status.ok()) status = store->Prepare();
  if (status.ok() && options.max_pages > 0) {
    status = store->connection_->Execute(fmt::format("PRAGMA max_page_count = {}", options.max_pages));
  }
  if (!status.ok()) {
    return absl::Status(status.code(), fmt::format("cannot use {}: {}{}", options.path.string(),
                                                   std::string(status.message()), WayOutOf(status)));
  }
  return store;
}

/// Makes an empty store beside its place and moves it there when it is complete.
absl::Status SqliteJobStore::Create(const std::filesystem::path& path) {
  const std::filesystem::path unfinished = fmt::format("{}.{}.new", path.string(), getpid());
  std::error_code ignored;
  std::filesystem::remove(unfinished, ignored);
  absl::Status status;
  {
    REGROUP_ASSIGN_OR_RETURN(auto connection, SqliteConnection::Open(unfinished));
    SqliteJobStore store(std::move(connection));
    status = store.Migrate();
  }
  if (status.ok()) status = SyncPath(unfinished);
  if (status.ok()) status = RenameWithoutReplacing(unfinished, path);
  std::filesystem::remove(unfinished, ignored);
  // Another coordinator was faster.
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

absl::Status SqliteJobStore::Prepare() {
  REGROUP_RETURN_IF_ERROR(Check());
  REGROUP_RETURN_IF_ERROR(CheckChecksums());
  return Migrate();
}

absl::Status SqliteJobStore::Check() {
  REGROUP_ASSIGN_OR_RETURN(const auto rows, connection_->Query({"PRAGMA quick_check(1)", {}}));
  REGROUP_RETURN_IF_ERROR(rows->Next().status());
  const std::string result(rows->Bytes(0));
  if (result == "ok") return absl::OkStatus();
  return absl::DataLossError(fmt::format("the file is damaged: {}{}", result, kWayOut));
}

/// Adds checksums to the file of an older version, and to pages that another program has written. Call after Check,
/// which reads every page.
absl::Status SqliteJobStore::CheckChecksums() {
  const bool has_checksums = connection_->HasChecksums();
  if (has_checksums && connection_->PagesWithoutChecksum() == 0) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const int64_t version, Version());
  // Migrate refuses a later version.
  if (version > static_cast<int64_t>(kMigrations.size())) return absl::OkStatus();
  if (!has_checksums && version >= kVersionWithChecksums) {
    return absl::DataLossError(fmt::format("the file is damaged: its header is not that of a store{}", kWayOut));
  }
  LogInfo("adding checksums to the store's pages", {{"without", connection_->PagesWithoutChecksum()}});
  return connection_->AddChecksums();
}

absl::StatusOr<int64_t> SqliteJobStore::Version() {
  REGROUP_ASSIGN_OR_RETURN(const auto rows, connection_->Query({"PRAGMA user_version", {}}));
  REGROUP_RETURN_IF_ERROR(rows->Next().status());
  return rows->Integer(0);
}

absl::Status SqliteJobStore::Migrate() {
  REGROUP_ASSIGN_OR_RETURN(int64_t version, Version());
  const int64_t newest = static_cast<int64_t>(kMigrations.size());
  if (version > newest) {
    return absl::FailedPreconditionError(fmt::format(
        "it was created by a newer Regroup (version {}, this one supports {}); run that one", version, newest));
  }
  for (; version < newest; ++version) {
    REGROUP_RETURN_IF_ERROR(connection_->Execute("BEGIN"));
    absl::Status status = connection_->Execute(kMigrations[version]);
    if (status.ok() && version + 1 == kVersionWithEndTimes) status = FillInEndTimes();
    if (status.ok()) status = connection_->Execute(fmt::format("PRAGMA user_version = {}; COMMIT", version + 1));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

/// Fills in the end times of jobs that ended before the table had a column for them.
absl::Status SqliteJobStore::FillInEndTimes() {
  std::map<int64_t, int64_t> ends;
  {
    REGROUP_ASSIGN_OR_RETURN(const auto rows, connection_->Query({"SELECT number, job FROM jobs", {}}));
    while (true) {
      REGROUP_ASSIGN_OR_RETURN(const bool has_row, rows->Next());
      if (!has_row) break;
      v1::Job job;
      REGROUP_RETURN_IF_ERROR(ParseColumn(*rows, 1, &job));
      if (IsFinalState(job.state())) ends[rows->Integer(0)] = MicrosOf(FromProto(job.end_time()));
    }
  }
  for (const auto& [number, end_us] : ends) {
    REGROUP_RETURN_IF_ERROR(connection_->Run({"UPDATE jobs SET end_us = $1 WHERE number = $2", {end_us, number}}));
  }
  return absl::OkStatus();
}

absl::Status SqliteJobStore::Backup(const std::filesystem::path& file) {
  REGROUP_RETURN_IF_ERROR(MakePrivateFolder(file.parent_path()));
  if (Exists(file)) {
    return absl::AlreadyExistsError(fmt::format("{} exists already; choose another name", file.string()));
  }
  const std::filesystem::path partial = file.string() + ".partial";
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  absl::Status status = CopyTo(partial);
  if (status.ok()) status = SyncPath(partial);
  if (status.ok()) status = RenameWithoutReplacing(partial, file);
  if (!status.ok()) std::filesystem::remove(partial, ignored);
  return status;
}

absl::Status SqliteJobStore::CopyTo(const std::filesystem::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const auto target, SqliteConnection::Open(file));
  std::unique_lock lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteCopy copy, SqliteCopy::Start(*connection_, *target));
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool is_done, copy.CopyPages(kPagesPerStep));
    if (is_done) return absl::OkStatus();
    // Changes written over this connection meanwhile are included in the copy.
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
}

}  // namespace regroup
