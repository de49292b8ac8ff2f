#include "coordinator/store/sqlite_job_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <thread>

#include "services/base/files.h"
#include "services/base/status_macros.h"
#include "services/rpc/status.h"

namespace regroup {
namespace {

/// Each entry brings the tables from its position to the next; the file's user_version counts those applied. Entries
/// are never edited once released, only added.
constexpr std::array<const char*, 2> kMigrations = {R"sql(
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
)sql"};

template <typename Message>
absl::Status Parse(std::string_view bytes, Message* message) {
  if (message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::OkStatus();
  return absl::InternalError(fmt::format("store: a {} is not readable", Message::descriptor()->full_name()));
}

bool HasLabels(const v1::Job& job, const std::map<std::string, std::string>& wanted) {
  const auto& labels = job.spec().labels();
  return std::all_of(wanted.begin(), wanted.end(), [&labels](const auto& label) {
    const auto found = labels.find(label.first);
    return found != labels.end() && found->second == label.second;
  });
}

template <typename List, typename Value>
bool IsIn(const List& list, const Value& value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

constexpr char kSelectLogs[] =
    "SELECT number, entry, rank FROM logs WHERE job = ? AND number > ? AND (? = '' OR task = ?) AND severity >= ? AND "
    "time_us >= ? ORDER BY number ";

constexpr int64_t kVersionWithEndTimes = 2;
/// 4 MB: a commit waits a few milliseconds for a step of a backup.
constexpr int kPagesPerStep = 1024;

constexpr char kSelectJobs[] = "SELECT number, state, job FROM jobs WHERE number < ? ORDER BY number DESC";
constexpr char kSelectJobsOfOwner[] =
    "SELECT number, state, job FROM jobs WHERE number < ? AND owner = ? ORDER BY number DESC";

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteJobStore>> SqliteJobStore::Open(const SqliteJobStoreOptions& options) {
  REGROUP_RETURN_IF_ERROR(MakeFolders(options.path.parent_path()));
  REGROUP_ASSIGN_OR_RETURN(SqliteConnection connection, SqliteConnection::Open(options.path));
  std::unique_ptr<SqliteJobStore> store(new SqliteJobStore(std::move(connection)));
  absl::Status status = store->connection_.Execute(
      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
      "BEGIN IMMEDIATE; COMMIT;");
  if (ReasonOf(status) == v1::STORE_UNAVAILABLE && std::string(status.message()).find("locked") != std::string::npos) {
    return absl::UnavailableError(fmt::format("{} is in use by another coordinator", options.path.string()));
  }
  if (status.ok()) status = store->Check();
  if (status.ok()) status = store->Migrate();
  if (status.ok() && options.max_pages > 0) {
    status = store->connection_.Execute(fmt::format("PRAGMA max_page_count = {}", options.max_pages));
  }
  if (!status.ok()) {
    return absl::Status(status.code(),
                        fmt::format("cannot use {}: {}", options.path.string(), std::string(status.message())));
  }
  return store;
}

absl::Status SqliteJobStore::Check() {
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement, connection_.Prepare("PRAGMA quick_check(1)"));
  REGROUP_RETURN_IF_ERROR(statement.Step().status());
  const std::string result(statement.Bytes(0));
  return result == "ok" ? absl::OkStatus() : absl::DataLossError(fmt::format("the file is damaged: {}", result));
}

absl::Status SqliteJobStore::Migrate() {
  int64_t version = 0;
  {
    REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement, connection_.Prepare("PRAGMA user_version"));
    REGROUP_RETURN_IF_ERROR(statement.Step().status());
    version = statement.Integer(0);
  }
  const int64_t newest = static_cast<int64_t>(kMigrations.size());
  if (version > newest) {
    return absl::FailedPreconditionError(
        fmt::format("a newer Regroup made it (version {}, this one knows {}); run that one", version, newest));
  }
  for (; version < newest; ++version) {
    REGROUP_RETURN_IF_ERROR(connection_.Execute("BEGIN"));
    absl::Status status = connection_.Execute(kMigrations[version]);
    if (status.ok() && version + 1 == kVersionWithEndTimes) status = FillInEndTimes();
    if (status.ok()) status = connection_.Execute(fmt::format("PRAGMA user_version = {}; COMMIT", version + 1));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

/// For jobs that ended before their table had a column for it.
absl::Status SqliteJobStore::FillInEndTimes() {
  std::map<int64_t, int64_t> ends;
  {
    REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement, connection_.Prepare("SELECT number, job FROM jobs"));
    while (true) {
      REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
      if (!has_row) break;
      v1::Job job;
      REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(1), &job));
      if (IsFinalState(job.state())) ends[statement.Integer(0)] = FromProto(job.end_time()).time_since_epoch().count();
    }
  }
  for (const auto& [number, end_us] : ends) {
    REGROUP_RETURN_IF_ERROR(connection_.Run("UPDATE jobs SET end_us = ? WHERE number = ?", end_us, number));
  }
  return absl::OkStatus();
}

// Writing.

absl::Status SqliteJobStore::Commit(const Changes& changes) {
  std::lock_guard lock(mutex_);
  REGROUP_RETURN_IF_ERROR(connection_.Execute("BEGIN IMMEDIATE"));
  absl::Status status = Write(changes);
  if (status.ok()) status = connection_.Execute("COMMIT");
  // SQLite may have rolled back by itself already; then this fails, harmlessly.
  if (!status.ok()) (void)connection_.Execute("ROLLBACK");
  return status;
}

absl::Status SqliteJobStore::Write(const Changes& changes) {
  for (const JobChange& change : changes.jobs) REGROUP_RETURN_IF_ERROR(WriteJob(change));
  for (const SubmittedRequest& request : changes.requests) {
    REGROUP_RETURN_IF_ERROR(connection_.Run("INSERT INTO requests (request_id, digest, job) VALUES (?, ?, ?)",
                                            request.request_id, request.digest, request.job));
  }
  for (const v1::Worker& worker : changes.workers) {
    REGROUP_RETURN_IF_ERROR(connection_.Run("INSERT OR REPLACE INTO workers (id, worker) VALUES (?, ?)",
                                            LastSegment(worker.name()), worker.SerializeAsString()));
  }
  for (const JobLog& log : changes.logs) REGROUP_RETURN_IF_ERROR(WriteLog(log));
  for (const JobMetric& metric : changes.metrics) REGROUP_RETURN_IF_ERROR(WriteMetric(metric));
  for (const v1::AuditEntry& entry : changes.audit) {
    REGROUP_RETURN_IF_ERROR(connection_.Run("INSERT INTO audit (time_us, resource, entry) VALUES (?, ?, ?)",
                                            FromProto(entry.time()).time_since_epoch().count(), entry.resource(),
                                            entry.SerializeAsString()));
  }
  for (const std::string& job : changes.deleted_jobs) REGROUP_RETURN_IF_ERROR(DeleteJob(job));
  return absl::OkStatus();
}

absl::Status SqliteJobStore::WriteJob(const JobChange& change) {
  const v1::Job& job = change.record.job;
  const std::string id = LastSegment(job.name());
  REGROUP_RETURN_IF_ERROR(connection_.Run(
      "INSERT INTO jobs (id, state, publication_granted, job, owner, end_us) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT "
      "(id) "
      "DO UPDATE SET state = excluded.state, publication_granted = excluded.publication_granted, job = excluded.job, "
      "end_us = excluded.end_us",
      id, static_cast<int>(job.state()), static_cast<int>(change.record.publication_granted),
      WithoutTasks(job).SerializeAsString(), job.owner(), FromProto(job.end_time()).time_since_epoch().count()));
  for (const size_t position : change.changed_tasks) {
    const RetryState& retry = change.record.retries[position];
    REGROUP_RETURN_IF_ERROR(connection_.Run(
        "INSERT OR REPLACE INTO tasks (job, position, task, restarts_without_progress, best_checkpoint, "
        "internal_failures, not_before_us) VALUES (?, ?, ?, ?, ?, ?, ?)",
        id, position, job.tasks(static_cast<int>(position)).SerializeAsString(), retry.restarts_without_progress,
        retry.best_checkpoint, retry.internal_failures, retry.not_before.time_since_epoch().count()));
  }
  REGROUP_RETURN_IF_ERROR(connection_.Run("INSERT INTO events (job, revision, event) VALUES (?, ?, ?)", id,
                                          job.revision(), EventOf(change).SerializeAsString()));
  return connection_.Run("DELETE FROM events WHERE job = ? AND revision <= ?", id, job.revision() - kEventsKept);
}

absl::Status SqliteJobStore::WriteLog(const JobLog& log) {
  return connection_.Run("INSERT INTO logs (job, task, rank, severity, time_us, entry) VALUES (?, ?, ?, ?, ?, ?)",
                         log.job, log.entry.task(), log.entry.rank(), static_cast<int>(log.entry.severity()),
                         FromProto(log.entry.time()).time_since_epoch().count(), log.entry.SerializeAsString());
}

absl::Status SqliteJobStore::WriteMetric(const JobMetric& metric) {
  return connection_.Run("INSERT INTO metrics (job, metric, step, point) VALUES (?, ?, ?, ?)", metric.job,
                         metric.point.metric(), static_cast<int64_t>(metric.point.step()),
                         metric.point.SerializeAsString());
}

absl::Status SqliteJobStore::DeleteJob(const std::string& job) {
  for (const char* sql :
       {"DELETE FROM jobs WHERE id = ?", "DELETE FROM tasks WHERE job = ?", "DELETE FROM events WHERE job = ?",
        "DELETE FROM requests WHERE job = ?", "DELETE FROM logs WHERE job = ?", "DELETE FROM metrics WHERE job = ?"}) {
    REGROUP_RETURN_IF_ERROR(connection_.Run(sql, job));
  }
  return absl::OkStatus();
}

// Reading.

absl::StatusOr<std::vector<JobRecord>> SqliteJobStore::LoadUnfinished() {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(
      SqliteStatement statement,
      connection_.Prepare("SELECT job, publication_granted FROM jobs WHERE state NOT IN (?, ?, ?) ORDER BY number"));
  statement.Bind(static_cast<int>(v1::JOB_STATE_SUCCEEDED), static_cast<int>(v1::JOB_STATE_FAILED),
                 static_cast<int>(v1::JOB_STATE_CANCELLED));
  std::vector<JobRecord> records;
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) break;
    JobRecord& record = records.emplace_back();
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(0), &record.job));
    record.publication_granted = statement.Integer(1) != 0;
    REGROUP_RETURN_IF_ERROR(ReadTasks(&record));
  }
  return records;
}

absl::StatusOr<JobRecord> SqliteJobStore::GetJob(const std::string& job) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement,
                           connection_.Prepare("SELECT job, publication_granted FROM jobs WHERE id = ?"));
  REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Bind(job).Step());
  if (!has_row) return JobNotFound(job);
  JobRecord record;
  REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(0), &record.job));
  record.publication_granted = statement.Integer(1) != 0;
  REGROUP_RETURN_IF_ERROR(ReadTasks(&record));
  return record;
}

absl::Status SqliteJobStore::ReadTasks(JobRecord* record) {
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement,
                           connection_.Prepare("SELECT task, restarts_without_progress, best_checkpoint, "
                                               "internal_failures, not_before_us FROM tasks WHERE job = ? "
                                               "ORDER BY position"));
  statement.Bind(LastSegment(record->job.name()));
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) return absl::OkStatus();
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(0), record->job.add_tasks()));
    record->retries.push_back({.restarts_without_progress = static_cast<int>(statement.Integer(1)),
                               .best_checkpoint = statement.Integer(2),
                               .internal_failures = static_cast<int>(statement.Integer(3)),
                               .not_before = Time(Duration(statement.Integer(4)))});
  }
}

absl::StatusOr<JobPage> SqliteJobStore::ListJobs(const JobQuery& query) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement,
                           connection_.Prepare(query.owner.empty() ? kSelectJobs : kSelectJobsOfOwner));
  statement.Bind(query.before == 0 ? std::numeric_limits<int64_t>::max() : query.before);
  if (!query.owner.empty()) statement.Bind(query.owner);
  JobPage page;
  int64_t last = 0;
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) return page;
    if (!IsIn(query.states, static_cast<v1::JobState>(statement.Integer(1)))) continue;
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(2), &job));
    if (!HasLabels(job, query.labels)) continue;
    if (page.jobs.size() == query.limit) {
      page.next = last;
      return page;
    }
    last = statement.Integer(0);
    page.jobs.push_back(std::move(job));
  }
}

absl::StatusOr<std::optional<SubmittedRequest>> SqliteJobStore::FindRequest(const std::string& request_id) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement,
                           connection_.Prepare("SELECT digest, job FROM requests WHERE request_id = ?"));
  REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Bind(request_id).Step());
  if (!has_row) return std::nullopt;
  return SubmittedRequest{request_id, std::string(statement.Bytes(0)), std::string(statement.Bytes(1))};
}

absl::StatusOr<std::vector<v1::Worker>> SqliteJobStore::LoadWorkers() {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement, connection_.Prepare("SELECT worker FROM workers ORDER BY id"));
  std::vector<v1::Worker> workers;
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) return workers;
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(0), &workers.emplace_back()));
  }
}

absl::StatusOr<std::vector<v1::JobEvent>> SqliteJobStore::ReadEvents(const std::string& job, int64_t after_revision,
                                                                     size_t limit) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement,
                           connection_.Prepare("SELECT revision, event FROM events WHERE job = ? AND revision > ? "
                                               "ORDER BY revision LIMIT ?"));
  statement.Bind(job, after_revision, limit);
  std::vector<v1::JobEvent> events;
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    const int64_t next_revision = after_revision + 1 + static_cast<int64_t>(events.size());
    if (!has_row || statement.Integer(0) != next_revision) return events;
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(1), &events.emplace_back()));
  }
}

absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> SqliteJobStore::ReadLogs(const LogQuery& query) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement, connection_.Prepare(kSelectLogs));
  statement.Bind(query.job, query.after, query.task, query.task, static_cast<int>(query.min_severity),
                 query.since.time_since_epoch().count());
  std::vector<Numbered<v1::LogEntry>> lines;
  while (lines.size() < query.limit) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) break;
    if (!IsIn(query.ranks, static_cast<int>(statement.Integer(2)))) continue;
    Numbered<v1::LogEntry>& line = lines.emplace_back();
    line.number = statement.Integer(0);
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(1), &line.message));
  }
  return lines;
}

absl::StatusOr<int64_t> SqliteJobStore::StartOfLogTail(const LogQuery& query, int lines) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement, connection_.Prepare(std::string(kSelectLogs) + "DESC"));
  statement.Bind(query.job, query.after, query.task, query.task, static_cast<int>(query.min_severity),
                 query.since.time_since_epoch().count());
  for (int passed = 0;;) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) return 0;
    if (!IsIn(query.ranks, static_cast<int>(statement.Integer(2)))) continue;
    if (++passed > lines) return statement.Integer(0);
  }
}

absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> SqliteJobStore::ReadMetrics(const MetricQuery& query) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement,
                           connection_.Prepare("SELECT number, metric, point FROM metrics WHERE job = ? AND number > ? "
                                               "AND step > ? ORDER BY number"));
  statement.Bind(query.job, query.after, query.after_step);
  std::vector<Numbered<v1::MetricPoint>> points;
  while (points.size() < query.limit) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) break;
    if (!IsIn(query.metrics, statement.Bytes(1))) continue;
    Numbered<v1::MetricPoint>& point = points.emplace_back();
    point.number = statement.Integer(0);
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(2), &point.message));
  }
  return points;
}

absl::StatusOr<std::vector<std::string>> SqliteJobStore::FinishedBefore(Time time, size_t limit) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(
      SqliteStatement statement,
      connection_.Prepare("SELECT id FROM jobs WHERE end_us > 0 AND end_us < ? ORDER BY end_us LIMIT ?"));
  statement.Bind(time.time_since_epoch().count(), limit);
  std::vector<std::string> ids;
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) return ids;
    ids.emplace_back(statement.Bytes(0));
  }
}

absl::Status SqliteJobStore::Backup(const std::filesystem::path& file) {
  REGROUP_RETURN_IF_ERROR(MakeFolders(file.parent_path()));
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
  REGROUP_ASSIGN_OR_RETURN(SqliteConnection target, SqliteConnection::Open(file));
  std::unique_lock lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteCopy copy, SqliteCopy::Start(connection_, target));
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool is_done, copy.CopyPages(kPagesPerStep));
    if (is_done) return absl::OkStatus();
    // What is written meanwhile over this connection gets into the copy.
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
}

absl::StatusOr<std::vector<Numbered<v1::AuditEntry>>> SqliteJobStore::ReadAudit(const AuditQuery& query) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(SqliteStatement statement,
                           connection_.Prepare("SELECT number, entry FROM audit WHERE number < ? AND (? = '' OR "
                                               "resource = ?) ORDER BY number DESC LIMIT ?"));
  statement.Bind(query.before == 0 ? std::numeric_limits<int64_t>::max() : query.before, query.resource, query.resource,
                 query.limit);
  std::vector<Numbered<v1::AuditEntry>> entries;
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
    if (!has_row) return entries;
    Numbered<v1::AuditEntry>& entry = entries.emplace_back();
    entry.number = statement.Integer(0);
    REGROUP_RETURN_IF_ERROR(Parse(statement.Bytes(1), &entry.message));
  }
}

}  // namespace regroup
