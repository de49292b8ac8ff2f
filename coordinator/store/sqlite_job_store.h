// JobStore in one SQLite file: write-ahead log, synchronous FULL, one connection, one transaction per commit.
//
// The file is locked for as long as the store is open: a second coordinator on the same folder is refused.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "coordinator/store/job_store.h"
#include "coordinator/store/sqlite.h"

namespace regroup {

struct SqliteJobStoreOptions {
  std::filesystem::path path;
  /// Largest size in pages of 4096 bytes; 0 means no limit.
  int64_t max_pages = 0;
};

class SqliteJobStore : public JobStore {
 public:
  /// Opens or creates the file, checks it and brings its tables up to date. FAILED_PRECONDITION where a newer version
  /// of Regroup made it; DATA_LOSS where it is damaged.
  static absl::StatusOr<std::unique_ptr<SqliteJobStore>> Open(const SqliteJobStoreOptions& options);

  absl::Status Commit(const Changes& changes) override;
  absl::StatusOr<std::vector<JobRecord>> LoadUnfinished() override;
  absl::StatusOr<std::vector<v1::Worker>> LoadWorkers() override;
  absl::StatusOr<JobRecord> GetJob(const std::string& job) override;
  absl::StatusOr<JobPage> ListJobs(const JobQuery& query) override;
  absl::StatusOr<std::optional<SubmittedRequest>> FindRequest(const std::string& request_id) override;
  absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(const std::string& job, int64_t after_revision,
                                                       size_t limit) override;
  absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> ReadLogs(const LogQuery& query) override;
  absl::StatusOr<int64_t> StartOfLogTail(const LogQuery& query, int lines) override;
  absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> ReadMetrics(const MetricQuery& query) override;
  absl::StatusOr<std::vector<std::string>> FinishedBefore(Time time, size_t limit) override;
  absl::Status Backup(const std::filesystem::path& file) override;
  absl::StatusOr<std::vector<Numbered<v1::AuditEntry>>> ReadAudit(const AuditQuery& query) override;

 private:
  explicit SqliteJobStore(SqliteConnection connection) : connection_(std::move(connection)) {}

  absl::Status Migrate();
  absl::Status FillInEndTimes();
  absl::Status Check();
  absl::Status Write(const Changes& changes);
  absl::Status WriteJob(const JobChange& change);
  absl::Status WriteLog(const JobLog& log);
  absl::Status WriteMetric(const JobMetric& metric);
  absl::Status DeleteJob(const std::string& job);
  absl::Status ReadTasks(JobRecord* record);
  absl::Status CopyTo(const std::filesystem::path& file);

  /// One connection serves the writer and all readers.
  std::mutex mutex_;
  SqliteConnection connection_;
};

}  // namespace regroup
