// A JobStore whose commits fail when a test requests it.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "coordinator/store/job_store.h"
#include "services/common/base/error.h"

namespace regroup {

class FaultyJobStore : public JobStore {
 public:
  explicit FaultyJobStore(std::unique_ptr<JobStore> store) : store_(std::move(store)) {}

  void FailCommits(bool fail) { fails_ = fail; }
  /// Makes reads of single jobs fail.
  void FailReads(bool fail) { fails_reads_ = fail; }

  /// Returns how often a single job, or its tasks, were read.
  int jobs_read() const { return jobs_read_; }

  absl::Status Commit(const Changes& changes) override {
    if (!fails_) return store_->Commit(changes);
    return MakeError(absl::StatusCode::kUnavailable, v1::STORE_UNAVAILABLE, "the disk is full");
  }
  absl::StatusOr<std::vector<JobRecord>> LoadUnfinished() override { return store_->LoadUnfinished(); }
  absl::StatusOr<std::vector<v1::Worker>> LoadWorkers() override { return store_->LoadWorkers(); }
  absl::StatusOr<std::optional<ClockReading>> LoadClock() override { return store_->LoadClock(); }
  absl::StatusOr<JobRecord> GetJob(const std::string& job) override {
    ++jobs_read_;
    if (!fails_reads_) return store_->GetJob(job);
    return MakeError(absl::StatusCode::kUnavailable, v1::STORE_UNAVAILABLE, "the disk cannot be read");
  }
  absl::StatusOr<JobPage> ListJobs(const JobQuery& query) override { return store_->ListJobs(query); }
  absl::StatusOr<std::optional<SubmittedRequest>> FindRequest(const std::string& request_id) override {
    return store_->FindRequest(request_id);
  }
  absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(const std::string& job, int64_t after_revision,
                                                       size_t limit) override {
    return store_->ReadEvents(job, after_revision, limit);
  }
  absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> ReadLogs(const LogQuery& query) override {
    return store_->ReadLogs(query);
  }
  absl::StatusOr<int64_t> StartOfLogTail(const LogQuery& query, int lines) override {
    return store_->StartOfLogTail(query, lines);
  }
  absl::StatusOr<int64_t> LogBytes(const std::string& job) override { return store_->LogBytes(job); }
  absl::StatusOr<int64_t> CountMetrics(const std::string& job, int64_t limit) override {
    return store_->CountMetrics(job, limit);
  }
  absl::StatusOr<std::vector<v1::Task>> GetTasks(const std::string& job) override {
    ++jobs_read_;
    return store_->GetTasks(job);
  }
  absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> ReadMetrics(const MetricQuery& query) override {
    return store_->ReadMetrics(query);
  }
  absl::StatusOr<std::vector<std::string>> FinishedBefore(Time time, size_t limit) override {
    return store_->FinishedBefore(time, limit);
  }
  absl::Status Backup(const std::filesystem::path& file) override { return store_->Backup(file); }
  absl::StatusOr<AuditPage> ReadAudit(const AuditQuery& query) override { return store_->ReadAudit(query); }
  absl::StatusOr<std::vector<Delivery>> DueDeliveries(int64_t now_us, size_t limit) override {
    return store_->DueDeliveries(now_us, limit);
  }

 private:
  const std::unique_ptr<JobStore> store_;
  std::atomic<bool> fails_ = false;
  std::atomic<bool> fails_reads_ = false;
  std::atomic<int> jobs_read_ = 0;
};

}  // namespace regroup
