#include "coordinator/store/sql_job_store.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <thread>

#include "coordinator/store/commit_commands.h"
#include "coordinator/store/job_lister.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Rows = std::unique_ptr<SqlRows>;

constexpr int64_t kPastTheNewest = std::numeric_limits<int64_t>::max();
/// Most rows of one statement, some of which a filter leaves out: PostgreSQL answers with all of them at once.
constexpr int64_t kMostRowsAtOnce = 256;
// The columns that ReadRecord reads.
constexpr char kSelectJob[] = "SELECT job, publication_granted, run_start_us, pause_start_us FROM jobs WHERE id = $1";
constexpr char kSelectUnfinished[] =
    "SELECT job, publication_granted, run_start_us, pause_start_us FROM jobs WHERE state IN ($1, $2, $3, $4, $5, $6) "
    "ORDER BY number";
constexpr char kSelectLogs[] =
    "SELECT number, entry, rank FROM logs WHERE job = $1 AND number > $2 AND ($3 = '' OR task = $3) AND severity >= $4 "
    "AND time_us >= $5 ORDER BY number LIMIT $6";
constexpr char kSelectLogsBackwards[] =
    "SELECT number, entry, rank FROM logs WHERE job = $1 AND number < $2 AND ($3 = '' OR task = $3) AND severity >= $4 "
    "AND time_us >= $5 AND number > $6 ORDER BY number DESC LIMIT $7";

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

/// Like ForEachRow, for rows numbered in column 0; `command` asks for a number of rows beyond a position. Holds the
/// mutex only while it reads one batch, so that commits do not wait for a scan of all rows.
absl::Status ForEachNumberedRow(SqlConnection& connection, std::mutex& mutex, int64_t position,
                                const std::function<SqlCommand(int64_t position, int64_t rows)>& command,
                                const std::function<absl::StatusOr<bool>(const SqlRows&)>& take) {
  while (true) {
    int64_t rows = 0;
    std::unique_lock lock(mutex);
    REGROUP_ASSIGN_OR_RETURN(const bool all,
                             ForEachRow(connection, command(position, kMostRowsAtOnce), [&](const SqlRows& row) {
                               position = row.Integer(0);
                               ++rows;
                               return take(row);
                             }));
    if (!all || rows < kMostRowsAtOnce) return absl::OkStatus();
    lock.unlock();
    std::this_thread::yield();
  }
}

}  // namespace

absl::Status SqlJobStore::Commit(const Changes& changes) {
  const std::vector<SqlCommand> commands = CommandsFor(changes);
  std::lock_guard lock(mutex_);
  return connection_->Apply(commands);
}

absl::StatusOr<std::vector<JobRecord>> SqlJobStore::LoadUnfinished() {
  std::lock_guard lock(mutex_);
  std::vector<JobRecord> records;
  // Listed states instead of "NOT IN": so the index finds the few unfinished jobs among many.
  const SqlCommand command = {
      kSelectUnfinished,
      {int64_t{v1::JOB_STATE_QUEUED}, int64_t{v1::JOB_STATE_RUNNING}, int64_t{v1::JOB_STATE_RECOVERING},
       int64_t{v1::JOB_STATE_CANCELLING}, int64_t{v1::JOB_STATE_PAUSING}, int64_t{v1::JOB_STATE_PAUSED}}};
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, command, [&](const SqlRows& row) -> absl::StatusOr<bool> {
                            REGROUP_RETURN_IF_ERROR(ReadRecord(row, &records.emplace_back()));
                            return true;
                          }).status());
  return records;
}

absl::StatusOr<JobRecord> SqlJobStore::GetJob(const std::string& job) {
  std::lock_guard lock(mutex_);
  REGROUP_ASSIGN_OR_RETURN(const Rows rows, connection_->Query({kSelectJob, {job}}));
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
  record->pause_start = Time(Duration(row.Integer(3)));
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

absl::StatusOr<std::vector<Delivery>> SqlJobStore::DueDeliveries(int64_t now_us, size_t limit) {
  const std::lock_guard lock(mutex_);
  std::vector<Delivery> due;
  const SqlCommand command = {
      "SELECT id, hook, body, created_us, failures, not_before_us FROM deliveries WHERE not_before_us <= $1 ORDER BY "
      "not_before_us, id LIMIT $2",
      {now_us, static_cast<int64_t>(limit)}};
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, command, [&](const SqlRows& row) -> absl::StatusOr<bool> {
                            due.push_back({.id = std::string(row.Bytes(0)),
                                           .hook = std::string(row.Bytes(1)),
                                           .body = std::string(row.Bytes(2)),
                                           .created_us = row.Integer(3),
                                           .failures = row.Integer(4),
                                           .not_before_us = row.Integer(5)});
                            return true;
                          }).status());
  return due;
}

absl::StatusOr<std::vector<v1::Task>> SqlJobStore::GetTasks(const std::string& job) {
  const std::lock_guard lock(mutex_);
  std::vector<v1::Task> tasks;
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, {"SELECT task FROM tasks WHERE job = $1", {job}},
                                     [&](const SqlRows& row) -> absl::StatusOr<bool> {
                                       REGROUP_RETURN_IF_ERROR(ParseColumn(row, 0, &tasks.emplace_back()));
                                       return true;
                                     })
                              .status());
  return tasks;
}

absl::StatusOr<JobPage> SqlJobStore::ListJobs(const JobQuery& query) {
  return JobLister(connection_, &mutex_, query).List();
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
  size_t bytes = 0;
  const SqlCommand command = {
      "SELECT revision, event FROM events WHERE job = $1 AND revision > $2 ORDER BY revision LIMIT $3",
      {job, after_revision, static_cast<int64_t>(limit)}};
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (row.Integer(0) != after_revision + 1 + static_cast<int64_t>(events.size())) return false;
    bytes += row.Bytes(1).size();
    if (!events.empty() && bytes > kBytesPerStreamRead) return false;
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
  const size_t spec_bytes = stored.spec().ByteSizeLong() + stored.resolved_spec().ByteSizeLong();
  size_t bytes = 0;
  for (size_t i = 0; i < events->size(); ++i) {
    v1::JobEvent& event = (*events)[i];
    bytes += event.ByteSizeLong() + spec_bytes;
    if (i > 0 && bytes > kBytesPerStreamRead) {
      events->resize(i);
      break;
    }
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
  size_t bytes = 0;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (!IsIn(query.ranks, static_cast<int>(row.Integer(2)))) return true;
    bytes += row.Bytes(1).size();
    if (!lines.empty() && bytes > query.bytes) return false;
    Numbered<v1::LogEntry>& line = lines.emplace_back();
    line.number = row.Integer(0);
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 1, &line.message));
    return lines.size() < query.limit;
  };
  REGROUP_RETURN_IF_ERROR(ForEachNumberedRow(*connection_, mutex_, query.after, command, take));
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
  REGROUP_RETURN_IF_ERROR(ForEachNumberedRow(*connection_, mutex_, kPastTheNewest, command, take));
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

absl::StatusOr<int64_t> SqlJobStore::CountMetrics(const std::string& job, int64_t limit) {
  const std::lock_guard lock(mutex_);
  int64_t points = 0;
  REGROUP_RETURN_IF_ERROR(
      ForEachRow(*connection_,
                 {"SELECT COUNT(*) FROM (SELECT 1 FROM metrics WHERE job = $1 LIMIT $2) AS points", {job, limit}},
                 [&](const SqlRows& row) -> absl::StatusOr<bool> {
                   points = row.Integer(0);
                   return true;
                 })
          .status());
  return points;
}

absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> SqlJobStore::ReadMetrics(const MetricQuery& query) {
  const auto command = [&query](int64_t position, int64_t rows) -> SqlCommand {
    return {
        "SELECT number, metric, point FROM metrics WHERE job = $1 AND number > $2 AND step > $3 ORDER BY number "
        "LIMIT $4",
        {query.job, position, query.after_step, rows}};
  };
  std::vector<Numbered<v1::MetricPoint>> points;
  size_t bytes = 0;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    if (!IsIn(query.metrics, row.Bytes(1))) return true;
    bytes += row.Bytes(2).size();
    if (!points.empty() && bytes > query.bytes) return false;
    Numbered<v1::MetricPoint>& point = points.emplace_back();
    point.number = row.Integer(0);
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 2, &point.message));
    return points.size() < query.limit;
  };
  REGROUP_RETURN_IF_ERROR(ForEachNumberedRow(*connection_, mutex_, query.after, command, take));
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

absl::StatusOr<AuditPage> SqlJobStore::ReadAudit(const AuditQuery& query) {
  std::lock_guard lock(mutex_);
  const SqlCommand command = {
      "SELECT number, entry FROM audit WHERE number < $1 AND ($2 = '' OR resource = $2) ORDER BY number DESC LIMIT $3",
      {query.before == 0 ? kPastTheNewest : query.before, query.resource, static_cast<int64_t>(query.limit) + 1}};
  AuditPage page;
  size_t bytes = 0;
  const auto take = [&](const SqlRows& row) -> absl::StatusOr<bool> {
    bytes += row.Bytes(1).size();
    if (page.entries.size() == query.limit || (!page.entries.empty() && bytes > query.bytes)) {
      page.next = page.entries.back().number;
      return false;
    }
    Numbered<v1::AuditEntry>& entry = page.entries.emplace_back();
    entry.number = row.Integer(0);
    REGROUP_RETURN_IF_ERROR(ParseColumn(row, 1, &entry.message));
    return true;
  };
  REGROUP_RETURN_IF_ERROR(ForEachRow(*connection_, command, take).status());
  return page;
}

}  // namespace regroup
