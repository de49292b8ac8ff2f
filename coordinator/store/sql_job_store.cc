#include "coordinator/store/sql_job_store.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <thread>

#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Rows = std::unique_ptr<SqlRows>;
using Commands = std::vector<SqlCommand>;

constexpr int64_t kPastTheNewest = std::numeric_limits<int64_t>::max();
/// Most rows to read at once while a filter decides how many of them are wanted.
constexpr int64_t kMostRowsAtOnce = 2000;

constexpr char kSelectJobs[] = "SELECT number, state, job FROM jobs WHERE number < $1 ORDER BY number DESC LIMIT $2";
constexpr char kSelectJobsOfOwner[] =
    "SELECT number, state, job FROM jobs WHERE number < $1 AND owner = $2 ORDER BY number DESC LIMIT $3";
constexpr char kSelectJobsInState[] =
    "SELECT number, state, job FROM jobs WHERE number < $1 AND state = $2 ORDER BY number DESC LIMIT $3";
constexpr char kSelectLogs[] =
    "SELECT number, entry, rank FROM logs WHERE job = $1 AND number > $2 AND ($3 = '' OR task = $3) AND severity >= $4 "
    "AND time_us >= $5 ORDER BY number LIMIT $6";
constexpr char kSelectLogsBackwards[] =
    "SELECT number, entry, rank FROM logs WHERE job = $1 AND number < $2 AND ($3 = '' OR task = $3) AND severity >= $4 "
    "AND time_us >= $5 AND number > $6 ORDER BY number DESC LIMIT $7";

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

/// Passes every row to `take` until it returns false. Returns true if the rows ended first.
absl::StatusOr<bool> ForEachRow(SqlConnection& connection, const SqlCommand& command,
                                const std::function<absl::StatusOr<bool>(const SqlRows&)>& take) {
  REGROUP_ASSIGN_OR_RETURN(const Rows rows, connection.Query(command));
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool has_row, rows->Next());
    if (!has_row) return true;
    REGROUP_ASSIGN_OR_RETURN(const bool goes_on, take(*rows));
    if (!goes_on) return false;
  }
}

/// Like ForEachRow, for rows numbered in column 0; `command` asks for a number of rows beyond a position. Reads as many
/// rows as are wanted first, then more at a time if a filter let too few through. Holds the mutex only while it reads
/// one batch, so that commits do not wait for a scan of all jobs.
absl::Status ForEachNumberedRow(SqlConnection& connection, std::mutex& mutex, int64_t position, size_t wanted,
                                const std::function<SqlCommand(int64_t position, int64_t rows)>& command,
                                const std::function<absl::StatusOr<bool>(const SqlRows&)>& take) {
  for (int64_t asked = static_cast<int64_t>(wanted);; asked = std::min(4 * asked, kMostRowsAtOnce)) {
    int64_t rows = 0;
    std::unique_lock lock(mutex);
    REGROUP_ASSIGN_OR_RETURN(const bool all, ForEachRow(connection, command(position, asked), [&](const SqlRows& row) {
                               position = row.Integer(0);
                               ++rows;
                               return take(row);
                             }));
    if (!all || rows < asked) return absl::OkStatus();
    lock.unlock();
    std::this_thread::yield();
  }
}

// Statements of a commit.

template <typename Message>
SqlBlob BlobOf(const Message& message) {
  return {message.SerializeAsString()};
}

void WriteTask(const std::string& id, const JobRecord& record, size_t position, Commands* commands) {
  const RetryState& retry = record.retries[position];
  commands->push_back(
      {"INSERT INTO tasks (job, position, task, restarts_without_progress, best_checkpoint, internal_failures, "
       "not_before_us, started_us, took_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (job, position) DO "
       "UPDATE SET task = "
       "excluded.task, restarts_without_progress = excluded.restarts_without_progress, best_checkpoint = "
       "excluded.best_checkpoint, internal_failures = excluded.internal_failures, not_before_us = "
       "excluded.not_before_us, started_us = excluded.started_us, took_us = excluded.took_us",
       {id, static_cast<int64_t>(position), BlobOf(record.job.tasks(static_cast<int>(position))),
        retry.restarts_without_progress, retry.best_checkpoint, retry.internal_failures, MicrosOf(retry.not_before),
        MicrosOf(retry.started), int64_t{retry.took.count()}}});
}

void WriteJob(const JobChange& change, Commands* commands) {
  const v1::Job& job = change.record.job;
  const std::string id = LastSegment(job.name());
  commands->push_back(
      {"INSERT INTO jobs (id, state, publication_granted, job, owner, end_us, run_start_us) VALUES ($1, $2, $3, $4, "
       "$5, "
       "$6, $7) ON CONFLICT (id) DO UPDATE SET state = excluded.state, publication_granted = "
       "excluded.publication_granted, job = excluded.job, end_us = excluded.end_us, run_start_us = "
       "excluded.run_start_us",
       {id, int64_t{job.state()}, int64_t{change.record.publication_granted}, BlobOf(WithoutTasks(job)), job.owner(),
        MicrosOf(FromProto(job.end_time())), MicrosOf(change.record.run_start)}});
  for (const size_t position : change.changed_tasks) WriteTask(id, change.record, position, commands);
  commands->push_back({"INSERT INTO events (job, revision, event) VALUES ($1, $2, $3)",
                       {id, int64_t{job.revision()}, BlobOf(EventOf(change))}});
  commands->push_back(
      {"DELETE FROM events WHERE job = $1 AND revision <= $2", {id, int64_t{job.revision()} - kEventsKept}});
}

void WriteLog(const JobLog& log, Commands* commands) {
  commands->push_back({"INSERT INTO logs (job, task, rank, severity, time_us, entry) VALUES ($1, $2, $3, $4, $5, $6)",
                       {log.job, log.entry.task(), int64_t{log.entry.rank()}, int64_t{log.entry.severity()},
                        MicrosOf(FromProto(log.entry.time())), BlobOf(log.entry)}});
}

void WriteMetric(const JobMetric& metric, Commands* commands) {
  commands->push_back(
      {"INSERT INTO metrics (job, metric, step, point) VALUES ($1, $2, $3, $4)",
       {metric.job, metric.point.metric(), static_cast<int64_t>(metric.point.step()), BlobOf(metric.point)}});
}

void DeleteJob(const std::string& job, Commands* commands) {
  for (const char* text : {"DELETE FROM jobs WHERE id = $1", "DELETE FROM tasks WHERE job = $1",
                           "DELETE FROM events WHERE job = $1", "DELETE FROM requests WHERE job = $1",
                           "DELETE FROM logs WHERE job = $1", "DELETE FROM metrics WHERE job = $1"}) {
    commands->push_back({text, {job}});
  }
}

/// Returns what a commit writes, in the order in which it must be applied. A request id that is taken makes the commit
/// fail.
Commands CommandsFor(const Changes& changes) {
  Commands commands;
  for (const JobChange& change : changes.jobs) WriteJob(change, &commands);
  for (const SubmittedRequest& request : changes.requests) {
    commands.push_back({"INSERT INTO requests (request_id, digest, job) VALUES ($1, $2, $3)",
                        {request.request_id, request.digest, request.job}});
  }
  for (const v1::Worker& worker : changes.workers) {
    commands.push_back(
        {"INSERT INTO workers (id, worker) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET worker = excluded.worker",
         {LastSegment(worker.name()), BlobOf(worker)}});
  }
  for (const JobLog& log : changes.logs) WriteLog(log, &commands);
  for (const JobMetric& metric : changes.metrics) WriteMetric(metric, &commands);
  for (const v1::AuditEntry& entry : changes.audit) {
    commands.push_back({"INSERT INTO audit (time_us, resource, entry) VALUES ($1, $2, $3)",
                        {MicrosOf(FromProto(entry.time())), entry.resource(), BlobOf(entry)}});
  }
  for (const std::string& job : changes.deleted_jobs) DeleteJob(job, &commands);
  if (changes.clock) {
    const ClockReading& clock = *changes.clock;
    commands.push_back(
        {"INSERT INTO clock (id, boot, since_boot_us, count_us) VALUES (1, $1, $2, $3) ON CONFLICT (id) DO UPDATE SET "
         "boot = excluded.boot, since_boot_us = excluded.since_boot_us, count_us = excluded.count_us",
         {clock.boot.boot, int64_t{clock.boot.since.count()}, MicrosOf(clock.count)}});
  }
  return commands;
}

}  // namespace

absl::Status SqlJobStore::Commit(const Changes& changes) {
  const Commands commands = CommandsFor(changes);
  std::lock_guard lock(mutex_);
  return connection_->Apply(commands);
}

absl::StatusOr<std::vector<JobRecord>> SqlJobStore::LoadUnfinished() {
  std::lock_guard lock(mutex_);
  std::vector<JobRecord> records;
  // Listed states instead of "NOT IN": so the index finds the few unfinished jobs among many.
  const SqlCommand command = {
      "SELECT job, publication_granted, run_start_us FROM jobs WHERE state IN ($1, $2, $3, $4) ORDER BY number",
      {int64_t{v1::JOB_STATE_QUEUED}, int64_t{v1::JOB_STATE_RUNNING}, int64_t{v1::JOB_STATE_RECOVERING},
       int64_t{v1::JOB_STATE_CANCELLING}}};
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, command, [&](const SqlRows& row) -> absl::StatusOr<bool> {
                            REGROUP_RETURN_IF_ERROR(ReadRecord(row, &records.emplace_back()));
                            return true;
                          }).status());
  return records;
}

absl::StatusOr<JobRecord> SqlJobStore::GetJob(const std::string& job) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(
      const Rows rows,
      connection_->Query({"SELECT job, publication_granted, run_start_us FROM jobs WHERE id = $1", {job}}));
  REGROUP_ASSIGN_OR_RETURN(const bool has_row, rows->Next());
  if (!has_row) return JobNotFound(job);
  JobRecord record;
  REGROUP_RETURN_IF_ERROR(ReadRecord(*rows, &record));
  return record;
}

absl::Status SqlJobStore::ReadRecord(const SqlRows& row, JobRecord* record) {
  REGROUP_RETURN_IF_ERROR(ParseColumn(row, 0, &record->job));
  record->publication_granted = row.Integer(1) != 0;
  record->run_start = Time(Duration(row.Integer(2)));
  return ReadTasks(record);
}

absl::Status SqlJobStore::ReadTasks(JobRecord* record) {
  const SqlCommand command = {
      "SELECT task, restarts_without_progress, best_checkpoint, internal_failures, not_before_us, started_us, took_us "
      "FROM tasks WHERE job = $1 ORDER BY position",
      {LastSegment(record->job.name())}};
  return ForEachRow(*connection_, command,
                    [&](const SqlRows& row) -> absl::StatusOr<bool> {
                      REGROUP_RETURN_IF_ERROR(ParseColumn(row, 0, record->job.add_tasks()));
                      record->retries.push_back({.restarts_without_progress = static_cast<int>(row.Integer(1)),
                                                 .best_checkpoint = row.Integer(2),
                                                 .internal_failures = static_cast<int>(row.Integer(3)),
                                                 .not_before = Time(Duration(row.Integer(4))),
                                                 .started = Time(Duration(row.Integer(5))),
                                                 .took = Duration(row.Integer(6))});
                      return true;
                    })
      .status();
}

absl::StatusOr<JobPage> SqlJobStore::ListJobs(const JobQuery& query) {
  const auto command = [&query](int64_t position, int64_t rows) -> SqlCommand {
    if (!query.owner.empty()) return {kSelectJobsOfOwner, {position, query.owner, rows}};
    // Use the index: a rare state must not be searched for among all jobs.
    if (query.states.size() == 1) return {kSelectJobsInState, {position, int64_t{query.states.front()}, rows}};
    return {kSelectJobs, {position, rows}};
  };
  JobPage page;
  int64_t last = 0;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (!IsIn(query.states, static_cast<v1::JobState>(row.Integer(1)))) return true;
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 2, &job));
    if (!HasLabels(job, query.labels)) return true;
    if (page.jobs.size() == query.limit) {
      page.next = last;
      return false;
    }
    last = row.Integer(0);
    page.jobs.push_back(std::move(job));
    return true;
  };
  REGROUP_RETURN_IF_ERROR(ForEachNumberedRow(*connection_, mutex_, query.before == 0 ? kPastTheNewest : query.before,
                                             query.limit + 1, command, take));
  return page;
}

absl::StatusOr<std::optional<SubmittedRequest>> SqlJobStore::FindRequest(const std::string& request_id) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(
      const Rows rows, connection_->Query({"SELECT digest, job FROM requests WHERE request_id = $1", {request_id}}));
  REGROUP_ASSIGN_OR_RETURN(const bool has_row, rows->Next());
  if (!has_row) return std::nullopt;
  return SubmittedRequest{request_id, std::string(rows->Bytes(0)), std::string(rows->Bytes(1))};
}

absl::StatusOr<std::vector<v1::Worker>> SqlJobStore::LoadWorkers() {
  std::lock_guard lock(mutex_);
  std::vector<v1::Worker> workers;
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, {"SELECT worker FROM workers ORDER BY id", {}},
                                     [&](const SqlRows& row) -> absl::StatusOr<bool> {
                                       REGROUP_RETURN_IF_ERROR(ParseColumn(row, 0, &workers.emplace_back()));
                                       return true;
                                     })
                              .status());
  return workers;
}

absl::StatusOr<std::optional<ClockReading>> SqlJobStore::LoadClock() {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(const Rows rows,
                           connection_->Query({"SELECT boot, since_boot_us, count_us FROM clock WHERE id = 1", {}}));
  REGROUP_ASSIGN_OR_RETURN(const bool has_row, rows->Next());
  if (!has_row) return std::nullopt;
  return ClockReading{.boot = {std::string(rows->Bytes(0)), Duration(rows->Integer(1))},
                      .count = Time(Duration(rows->Integer(2)))};
}

absl::StatusOr<std::vector<v1::JobEvent>> SqlJobStore::ReadEvents(const std::string& job, int64_t after_revision,
                                                                  size_t limit) {
  std::lock_guard lock(mutex_);
  std::vector<v1::JobEvent> events;
  const SqlCommand command = {
      "SELECT revision, event FROM events WHERE job = $1 AND revision > $2 ORDER BY revision LIMIT $3",
      {job, after_revision, static_cast<int64_t>(limit)}};
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (row.Integer(0) != after_revision + 1 + static_cast<int64_t>(events.size())) return false;
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 1, &events.emplace_back()));
    return true;
  };
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, command, take).status());
  if (!events.empty()) REGROUP_RETURN_IF_ERROR(AddSpec(job, &events));
  return events;
}

absl::Status SqlJobStore::AddSpec(const std::string& job, std::vector<v1::JobEvent>* events) {
  REGROUP_ASSIGN_OR_RETURN(const Rows rows, connection_->Query({"SELECT job FROM jobs WHERE id = $1", {job}}));
  REGROUP_ASSIGN_OR_RETURN(const bool has_row, rows->Next());
  if (!has_row) return JobNotFound(job);
  v1::Job stored;
  REGROUP_RETURN_IF_ERROR(ParseColumn(*rows, 0, &stored));
  for (v1::JobEvent& event : *events) {
    *event.mutable_job()->mutable_spec() = stored.spec();
    *event.mutable_job()->mutable_resolved_spec() = stored.resolved_spec();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> SqlJobStore::ReadLogs(const LogQuery& query) {
  const auto command = [&query](int64_t position, int64_t rows) -> SqlCommand {
    return {kSelectLogs, {query.job, position, query.task, int64_t{query.min_severity}, MicrosOf(query.since), rows}};
  };
  std::vector<Numbered<v1::LogEntry>> lines;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (!IsIn(query.ranks, static_cast<int>(row.Integer(2)))) return true;
    Numbered<v1::LogEntry>& line = lines.emplace_back();
    line.number = row.Integer(0);
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 1, &line.message));
    return lines.size() < query.limit;
  };
  REGROUP_RETURN_IF_ERROR(ForEachNumberedRow(*connection_, mutex_, query.after, query.limit, command, take));
  return lines;
}

absl::StatusOr<int64_t> SqlJobStore::StartOfLogTail(const LogQuery& query, int lines) {
  const auto command = [&query](int64_t position, int64_t rows) -> SqlCommand {
    return {kSelectLogsBackwards,
            {query.job, position, query.task, int64_t{query.min_severity}, MicrosOf(query.since), query.after, rows}};
  };
  int64_t start = 0;
  int passed = 0;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (!IsIn(query.ranks, static_cast<int>(row.Integer(2)))) return true;
    if (++passed <= lines) return true;
    start = row.Integer(0);
    return false;
  };
  REGROUP_RETURN_IF_ERROR(
      ForEachNumberedRow(*connection_, mutex_, kPastTheNewest, static_cast<size_t>(lines) + 1, command, take));
  return start;
}

absl::StatusOr<int64_t> SqlJobStore::LogBytes(const std::string& job) {
  const std::lock_guard lock(mutex_);
  int64_t bytes = 0;
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_,
                                     {"SELECT COALESCE(SUM(LENGTH(entry)), 0) FROM logs WHERE job = $1", {job}},
                                     [&](const SqlRows& row) -> absl::StatusOr<bool> {
                                       bytes = row.Integer(0);
                                       return true;
                                     })
                              .status());
  return bytes;
}

absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> SqlJobStore::ReadMetrics(const MetricQuery& query) {
  const auto command = [&query](int64_t position, int64_t rows) -> SqlCommand {
    return {
        "SELECT number, metric, point FROM metrics WHERE job = $1 AND number > $2 AND step > $3 ORDER BY number "
        "LIMIT $4",
        {query.job, position, query.after_step, rows}};
  };
  std::vector<Numbered<v1::MetricPoint>> points;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (!IsIn(query.metrics, row.Bytes(1))) return true;
    Numbered<v1::MetricPoint>& point = points.emplace_back();
    point.number = row.Integer(0);
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 2, &point.message));
    return points.size() < query.limit;
  };
  REGROUP_RETURN_IF_ERROR(ForEachNumberedRow(*connection_, mutex_, query.after, query.limit, command, take));
  return points;
}

absl::StatusOr<std::vector<std::string>> SqlJobStore::FinishedBefore(Time time, size_t limit) {
  std::lock_guard lock(mutex_);
  std::vector<std::string> ids;
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_,
                                     {"SELECT id FROM jobs WHERE end_us > 0 AND end_us < $1 ORDER BY end_us LIMIT $2",
                                      {MicrosOf(time), static_cast<int64_t>(limit)}},
                                     [&](const SqlRows& row) -> absl::StatusOr<bool> {
                                       ids.emplace_back(row.Bytes(0));
                                       return true;
                                     })
                              .status());
  return ids;
}

absl::StatusOr<std::vector<Numbered<v1::AuditEntry>>> SqlJobStore::ReadAudit(const AuditQuery& query) {
  std::lock_guard lock(mutex_);
  const SqlCommand command = {
      "SELECT number, entry FROM audit WHERE number < $1 AND ($2 = '' OR resource = $2) ORDER BY number DESC LIMIT $3",
      {query.before == 0 ? kPastTheNewest : query.before, query.resource, static_cast<int64_t>(query.limit)}};
  std::vector<Numbered<v1::AuditEntry>> entries;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    Numbered<v1::AuditEntry>& entry = entries.emplace_back();
    entry.number = row.Integer(0);
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 1, &entry.message));
    return true;
  };
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, command, take).status());
  return entries;
}

}  // namespace regroup
