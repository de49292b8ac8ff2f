// Keeps everything that must survive a crash of the coordinator: jobs, their tasks and changes, workers, logs and
// metric points.
//
// Only the core thread commits; any thread may read. Reads see whole commits. Errors: UNAVAILABLE (STORE_UNAVAILABLE)
// if the medium fails, for example with a full disk: nothing of the commit is stored then, and a later one may succeed.
// INTERNAL if the content is not readable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/job/count_clock.h"
#include "coordinator/job/job.h"
#include "regroup/v1/cluster_service.pb.h"
#include "regroup/v1/job_service.pb.h"

namespace regroup {

/// Number of changes of a job that a watcher can still ask for; older ones are a gap.
inline constexpr int kEventsKept = 256;

/// Bytes of messages after which a read for a page or a stream ends, whatever its limit; it returns at least one
/// message. A page is far smaller than the 16 MiB that clients accept, and thousands of streams fit into memory.
inline constexpr size_t kBytesPerPage = size_t{1} << 20;
inline constexpr size_t kBytesPerStreamRead = size_t{256} << 10;

/// The first submission with a request id.
struct SubmittedRequest {
  std::string request_id;
  /// SHA-256 of the body.
  std::string digest;
  std::string job;
};

struct JobLog {
  std::string job;
  v1::LogEntry entry;
};

struct JobMetric {
  std::string job;
  v1::MetricPoint point;
  /// False for a point that is only shown, because the job has too many.
  bool is_stored = true;
};

/// An event that a webhook has not received yet. Times are the wall clock's, in microseconds since 1970.
struct Delivery {
  /// Names the event to its receiver.
  std::string id;
  /// The webhook's name.
  std::string hook;
  std::string body;
  int64_t created_us = 0;
  int64_t failures = 0;
  /// It is not sent again before.
  int64_t not_before_us = 0;
};

/// Changes that one commit makes durable, all or nothing.
struct Changes {
  std::vector<JobChange> jobs;
  std::vector<SubmittedRequest> requests;
  std::vector<v1::Worker> workers;
  std::vector<JobLog> logs;
  std::vector<JobMetric> metrics;
  /// Audit entries: the callers who asked for these changes.
  std::vector<v1::AuditEntry> audit;
  /// Ids of jobs to delete with everything that belongs to them.
  std::vector<std::string> deleted_jobs;
  /// New deliveries, and those that failed.
  std::vector<Delivery> deliveries;
  /// Ids of deliveries to remove.
  std::vector<std::string> finished_deliveries;
  /// Replaces the last reading of the clock. No change by itself.
  std::optional<ClockReading> clock;

  bool empty() const {
    return jobs.empty() && requests.empty() && workers.empty() && logs.empty() && metrics.empty() && audit.empty() &&
           deleted_jobs.empty() && deliveries.empty() && finished_deliveries.empty();
  }
};

struct JobQuery {
  /// Empty means all.
  std::vector<v1::JobState> states;
  std::map<std::string, std::string> labels;
  /// Empty means all.
  std::string owner;
  /// Continue after this number of a JobPage; 0 starts with the newest job.
  int64_t before = 0;
  size_t limit = 50;
  size_t bytes = kBytesPerPage;
  /// Numbers of jobs, and of their bytes, to look at in one call while a filter leaves many out.
  size_t most_rows = 10'000;
  size_t most_bytes = size_t{16} << 20;
};

/// Newest first, without tasks. A page may have fewer jobs than asked for, even none, and yet not be the last.
struct JobPage {
  std::vector<v1::Job> jobs;
  /// Value of JobQuery::before for the next page; 0 on the last page.
  int64_t next = 0;
};

struct LogQuery {
  std::string job;
  /// Empty means all.
  std::string task;
  std::vector<int> ranks;
  v1::LogSeverity min_severity = v1::LOG_SEVERITY_UNSPECIFIED;
  Time since{};
  /// Only lines with a larger number.
  int64_t after = 0;
  size_t limit = 256;
  size_t bytes = kBytesPerStreamRead;
};

struct MetricQuery {
  std::string job;
  /// Empty means all.
  std::vector<std::string> metrics;
  int64_t after_step = -1;
  /// Only points with a larger number.
  int64_t after = 0;
  size_t limit = 256;
  size_t bytes = kBytesPerStreamRead;
};

struct AuditQuery {
  /// Empty means all.
  std::string resource;
  /// Only entries with a smaller number; 0 starts with the newest.
  int64_t before = 0;
  size_t limit = 100;
  size_t bytes = kBytesPerPage;
};

/// A message with its number in the order of commits.
template <typename Message>
struct Numbered {
  int64_t number = 0;
  Message message;
};

/// Newest first.
struct AuditPage {
  std::vector<Numbered<v1::AuditEntry>> entries;
  /// Value of AuditQuery::before for the next page; 0 on the last page.
  int64_t next = 0;
};

class JobStore {
 public:
  virtual ~JobStore() = default;

  virtual absl::Status Commit(const Changes& changes) = 0;

  /// Returns the jobs that are not in a final state, oldest first.
  virtual absl::StatusOr<std::vector<JobRecord>> LoadUnfinished() = 0;
  virtual absl::StatusOr<std::vector<v1::Worker>> LoadWorkers() = 0;
  /// Returns the last reading of the clock; none before the first.
  virtual absl::StatusOr<std::optional<ClockReading>> LoadClock() = 0;

  /// Returns a job. NOT_FOUND (RESOURCE_NOT_FOUND) for an unknown id.
  virtual absl::StatusOr<JobRecord> GetJob(const std::string& job) = 0;
  virtual absl::StatusOr<JobPage> ListJobs(const JobQuery& query) = 0;
  virtual absl::StatusOr<std::optional<SubmittedRequest>> FindRequest(const std::string& request_id) = 0;

  /// Returns the changes after a revision, in order and without gaps, at most `limit` and kBytesPerStreamRead. Empty if
  /// there are none, or if the next one is no longer stored.
  virtual absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(const std::string& job, int64_t after_revision,
                                                               size_t limit) = 0;

  virtual absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> ReadLogs(const LogQuery& query) = 0;
  /// Returns the number after which exactly the last `lines` matching lines follow; 0 if there are fewer.
  virtual absl::StatusOr<int64_t> StartOfLogTail(const LogQuery& query, int lines) = 0;
  /// Returns the size of all log entries of a job as they are stored, in bytes.
  virtual absl::StatusOr<int64_t> LogBytes(const std::string& job) = 0;
  /// Returns the number of metric points of a job, counted up to `limit`.
  virtual absl::StatusOr<int64_t> CountMetrics(const std::string& job, int64_t limit) = 0;
  /// Returns the tasks of a job, and none for an unknown one. Much cheaper than GetJob if the job file is large.
  virtual absl::StatusOr<std::vector<v1::Task>> GetTasks(const std::string& job) = 0;
  virtual absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> ReadMetrics(const MetricQuery& query) = 0;
  /// Returns the jobs that reached a final state before the time, oldest first.
  virtual absl::StatusOr<std::vector<std::string>> FinishedBefore(Time time, size_t limit) = 0;
  /// Writes a durable copy of the store as of some moment during the call; commits and reads continue meanwhile.
  /// ALREADY_EXISTS if the file exists.
  virtual absl::Status Backup(const std::filesystem::path& file) = 0;
  virtual absl::StatusOr<AuditPage> ReadAudit(const AuditQuery& query) = 0;
  /// Returns the deliveries that may be sent at this time, those that may for longest first.
  virtual absl::StatusOr<std::vector<Delivery>> DueDeliveries(int64_t now_us, size_t limit) = 0;
};

/// Convert between a revision and the token with which a watcher continues after it. INVALID_ARGUMENT for a malformed
/// token.
std::string ResumeToken(int64_t revision);
absl::StatusOr<int64_t> RevisionOf(const std::string& resume_token);

/// Returns the event that a store keeps of a change for watchers: the job with its changed tasks, without the
/// specification, which never changes and would be most of every event. ReadEvents adds it again.
v1::JobEvent EventOf(const JobChange& change);

/// Returns the job as lists and events show it, without tasks.
v1::Job WithoutTasks(const v1::Job& job);

/// Returns NOT_FOUND (RESOURCE_NOT_FOUND) with the job's name.
absl::Status JobNotFound(const std::string& job);

}  // namespace regroup
