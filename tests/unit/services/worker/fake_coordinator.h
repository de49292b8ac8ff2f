// A coordinator for tests: hands out the assignments it is given, and records everything that workers send. It can stop
// and restart on the same port, after which it knows no worker. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "regroup/v1/worker_service.grpc.pb.h"
#include "services/worker/attempt_key.h"

namespace regroup {

class FakeCoordinator final : public v1::WorkerService::Service {
 public:
  explicit FakeCoordinator(std::chrono::milliseconds lease = std::chrono::seconds(60));
  ~FakeCoordinator() override;

  void GoAway();
  void ComeBack();
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void Assign(const v1::TaskAssignment& assignment);
  /// From now on, answers to heartbeats ask the worker to stop the attempt.
  void AskToStop(const AttemptKey& key);
  /// Its reports are rejected.
  void MakeStale(const AttemptKey& key);
  /// Makes registrations and heartbeats fail; all other calls work.
  void IgnoreSignsOfLife(bool ignore);
  /// While true, ReportTask with an outcome is applied and not answered.
  void HoldAnswers(bool hold);
  /// Applies the next ReportTask with an outcome but loses its answer.
  void LoseNextAnswer();

  /// Waits up to 60 s for the outcome of an attempt; fails the test if it does not come.
  v1::TaskOutcome WaitForOutcome(const AttemptKey& key);
  /// Waits up to 60 s until the condition holds; it is called with the lock held.
  bool WaitUntil(const std::function<bool()>& condition);

  // The received messages. Read them inside WaitUntil's condition, or while the worker sends nothing.
  std::vector<v1::RegisterWorkerRequest> registrations;
  std::vector<v1::LogEntry> logs;
  std::vector<v1::MetricPoint> metrics;
  std::map<AttemptKey, v1::Progress> progress;
  std::set<AttemptKey> listed;
  std::vector<std::pair<AttemptKey, v1::TaskOutcome>> outcomes;
  std::vector<AttemptKey> questions;
  int refused_reports = 0;
  int heartbeats = 0;

 private:
  grpc::Status RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest*,
                              v1::RegisterWorkerResponse*) override;
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*, v1::HeartbeatResponse*) override;
  grpc::Status AcquireTask(grpc::ServerContext*, const v1::AcquireTaskRequest*, v1::AcquireTaskResponse*) override;
  grpc::Status ReportTask(grpc::ServerContext*, const v1::ReportTaskRequest*, v1::ReportTaskResponse*) override;
  grpc::Status PushLogs(grpc::ServerContext*, const v1::PushLogsRequest*, v1::PushLogsResponse*) override;

  const std::chrono::milliseconds lease_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::TaskAssignment> assignments_;
  std::set<AttemptKey> to_stop_;
  std::set<AttemptKey> stale_;
  std::optional<uint64_t> known_incarnation_;
  bool lose_answer_ = false;
  bool hold_answers_ = false;
  bool away_ = false;
  bool ignore_signs_of_life_ = false;
};

}  // namespace regroup
