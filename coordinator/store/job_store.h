// What survives a crash of the coordinator: jobs, their tasks and changes, workers, logs and metric points.
//
// One caller commits (the core thread), any thread may read. Reads see whole commits. Errors: UNAVAILABLE
// (STORE_UNAVAILABLE) where the medium fails, for example a full disk: then nothing of the commit has happened, and a
// later one may succeed. INTERNAL where the content is not readable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/job/job.h"
#include "regroup/v1/cluster_service.pb.h"
#include "regroup/v1/job_service.pb.h"

namespace regroup {

/// Changes of a job that a watcher can still ask for; older ones are a gap.
inline constexpr int kEventsKept = 256;

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
};

/// What one commit makes durable, all or nothing.
struct Changes {
  std::vector<JobChange> jobs;
  std::vector<SubmittedRequest> requests;
  std::vector<v1::Worker> workers;
  std::vector<JobLog> logs;
  std::vector<JobMetric> metrics;
  /// Who asked for these changes.
  std::vector<v1::AuditEntry> audit;
  /// Ids of jobs that are forgotten with everything that belongs to them.
  std::vector<std::string> deleted_jobs;

  bool empty() const {
    return jobs.empty() && requests.empty() && workers.empty() && logs.empty() && metrics.empty() && audit.empty() &&
           deleted_jobs.empty();
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
};

/// Newest first, without tasks.
struct JobPage {
  std::vector<v1::Job> jobs;
  /// For JobQuery::before; 0 on the last page.
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
};

struct MetricQuery {
  std::string job;
  /// Empty means all.
  std::vector<std::string> metrics;
  int64_t after_step = -1;
  /// Only points with a larger number.
  int64_t after = 0;
  size_t limit = 256;
};

struct AuditQuery {
  /// Empty means all.
  std::string resource;
  /// Only entries with a smaller number; 0 starts with the newest.
  int64_t before = 0;
  size_t limit = 100;
};

/// Something in the order in which it was committed.
template <typename Message>
struct Numbered {
  int64_t number = 0;
  Message message;
};

class JobStore {
 public:
  virtual ~JobStore() = default;

  virtual absl::Status Commit(const Changes& changes) = 0;

  /// Jobs that are not in a final state, oldest first.
  virtual absl::StatusOr<std::vector<JobRecord>> LoadUnfinished() = 0;
  virtual absl::StatusOr<std::vector<v1::Worker>> LoadWorkers() = 0;

  /// NOT_FOUND (RESOURCE_NOT_FOUND) for an unknown id.
  virtual absl::StatusOr<JobRecord> GetJob(const std::string& job) = 0;
  virtual absl::StatusOr<JobPage> ListJobs(const JobQuery& query) = 0;
  virtual absl::StatusOr<std::optional<SubmittedRequest>> FindRequest(const std::string& request_id) = 0;

  /// Changes after a revision, in order and without gaps, at most `limit`. Empty where there are none, or where the
  /// next one is no longer known.
  virtual absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(const std::string& job, int64_t after_revision,
                                                               size_t limit) = 0;

  virtual absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> ReadLogs(const LogQuery& query) = 0;
  /// The number after which exactly the last `lines` lines follow that match the query; 0 where there are fewer.
  virtual absl::StatusOr<int64_t> StartOfLogTail(const LogQuery& query, int lines) = 0;
  virtual absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> ReadMetrics(const MetricQuery& query) = 0;
  /// Jobs that reached a final state before the time, oldest first.
  virtual absl::StatusOr<std::vector<std::string>> FinishedBefore(Time time, size_t limit) = 0;
  /// Writes a copy of everything as it is at some moment of the call, durably; commits and reads go on meanwhile.
  /// ALREADY_EXISTS where the file is there.
  virtual absl::Status Backup(const std::filesystem::path& file) = 0;
  /// Newest first.
  virtual absl::StatusOr<std::vector<Numbered<v1::AuditEntry>>> ReadAudit(const AuditQuery& query) = 0;
};

/// The token with which a watcher continues after a revision, and back. INVALID_ARGUMENT for anything else.
std::string ResumeToken(int64_t revision);
absl::StatusOr<int64_t> RevisionOf(const std::string& resume_token);

/// What a store keeps of a change for its watchers: the job with the tasks that changed, without its specification,
/// which no change touches and which would be most of every event. ReadEvents adds it again.
v1::JobEvent EventOf(const JobChange& change);

/// The job as lists and events show it, without tasks.
v1::Job WithoutTasks(const v1::Job& job);

/// NOT_FOUND (RESOURCE_NOT_FOUND) naming the job.
absl::Status JobNotFound(const std::string& job);

}  // namespace regroup
