// The part of a JobStore that is plain SQL on the tables of kMigrations. Derived classes do what differs between
// databases, such as opening, migrating and copying.
#pragma once

#include <memory>
#include <mutex>

#include "coordinator/store/commit_commands.h"
#include "coordinator/store/job_store.h"
#include "coordinator/store/sql.h"

namespace regroup {

class SqlJobStore : public JobStore {
 public:
  absl::Status Commit(const Changes& changes) override;
  absl::StatusOr<std::vector<JobRecord>> LoadUnfinished() override;
  absl::StatusOr<std::vector<v1::Worker>> LoadWorkers() override;
  absl::StatusOr<std::optional<ClockReading>> LoadClock() override;
  absl::StatusOr<JobRecord> GetJob(const std::string& job) override;
  absl::StatusOr<JobPage> ListJobs(const JobQuery& query) override;
  absl::StatusOr<std::optional<SubmittedRequest>> FindRequest(const std::string& request_id) override;
  absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(const std::string& job, int64_t after_revision,
                                                       size_t limit) override;
  absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> ReadLogs(const LogQuery& query) override;
  absl::StatusOr<int64_t> StartOfLogTail(const LogQuery& query, int lines) override;
  absl::StatusOr<int64_t> LogBytes(const std::string& job) override;
  absl::StatusOr<int64_t> CountMetrics(const std::string& job, int64_t limit) override;
  absl::StatusOr<std::vector<v1::Task>> GetTasks(const std::string& job) override;
  absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> ReadMetrics(const MetricQuery& query) override;
  absl::StatusOr<std::vector<std::string>> FinishedBefore(Time time, size_t limit) override;
  absl::StatusOr<AuditPage> ReadAudit(const AuditQuery& query) override;
  absl::StatusOr<std::vector<Delivery>> DueDeliveries(int64_t now_us, size_t limit) override;

 protected:
  /// The connection must outlive the store's last call.
  explicit SqlJobStore(SqlConnection* connection) : connection_(connection) {}

  /// Guards the connection, which serves the writer and all readers.
  std::mutex mutex_;

 private:
  absl::Status ReadRecord(const SqlRows& row, JobRecord* record);
  absl::Status ReadTasks(JobRecord* record);
  /// Adds the specification, which EventOf leaves out, to as many of the events as a read may return; removes the rest.
  absl::Status AddSpec(const std::string& job, std::vector<v1::JobEvent>* events);

  SqlConnection* const connection_;
};

/// Parses a message from a row. INTERNAL if it is not readable.
template <typename Message>
absl::Status ParseColumn(const SqlRows& row, int column, Message* message) {
  const std::string_view bytes = row.Bytes(column);
  if (message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::OkStatus();
  return absl::InternalError("store: a " + std::string(Message::descriptor()->full_name()) + " is not readable");
}

}  // namespace regroup
