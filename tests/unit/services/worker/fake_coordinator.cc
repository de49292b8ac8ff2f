#include "tests/unit/services/worker/fake_coordinator.h"

#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "services/common/base/error.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::chrono::seconds kPatience{60};

grpc::Status NotRegistered() {
  return ToGrpc(MakeError(absl::StatusCode::kNotFound, v1::WORKER_NOT_REGISTERED, "who are you"));
}

}  // namespace

FakeCoordinator::FakeCoordinator(std::chrono::milliseconds lease) : lease_(lease) { ComeBack(); }

FakeCoordinator::~FakeCoordinator() { GoAway(); }

void FakeCoordinator::GoAway() {
  if (server_ == nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    away_ = true;
    known_incarnation_.reset();
    changed_.notify_all();
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
}

void FakeCoordinator::ComeBack() {
  {
    const std::lock_guard lock(mutex_);
    away_ = false;
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
}

void FakeCoordinator::Assign(const v1::TaskAssignment& assignment) {
  const std::lock_guard lock(mutex_);
  assignments_.push_back(assignment);
  changed_.notify_all();
}

void FakeCoordinator::AskToStop(const AttemptKey& key) {
  const std::lock_guard lock(mutex_);
  to_stop_.insert(key);
}

void FakeCoordinator::MakeStale(const AttemptKey& key) {
  const std::lock_guard lock(mutex_);
  stale_.insert(key);
}

void FakeCoordinator::LoseNextAnswer() {
  const std::lock_guard lock(mutex_);
  lose_answer_ = true;
}

void FakeCoordinator::IgnoreSignsOfLife(bool ignore) {
  const std::lock_guard lock(mutex_);
  ignore_signs_of_life_ = ignore;
}

bool FakeCoordinator::WaitUntil(const std::function<bool()>& condition) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, condition);
}

v1::TaskOutcome FakeCoordinator::WaitForOutcome(const AttemptKey& key) {
  v1::TaskOutcome found;
  const bool came = WaitUntil([&] {
    const auto entry =
        std::find_if(outcomes.begin(), outcomes.end(), [&](const auto& one) { return one.first == key; });
    if (entry != outcomes.end()) found = entry->second;
    return entry != outcomes.end();
  });
  EXPECT_TRUE(came) << "no outcome of " << ToString(key);
  return found;
}

grpc::Status FakeCoordinator::RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest* request,
                                             v1::RegisterWorkerResponse* response) {
  const std::lock_guard lock(mutex_);
  if (ignore_signs_of_life_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "ignored");
  registrations.push_back(*request);
  known_incarnation_ = request->incarnation();
  *response->mutable_lease() = TimeUtil::MillisecondsToDuration(lease_.count());
  *response->mutable_heartbeat_interval() = TimeUtil::MillisecondsToDuration(100);
  changed_.notify_all();
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                        v1::HeartbeatResponse* response) {
  const std::lock_guard lock(mutex_);
  if (ignore_signs_of_life_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "ignored");
  if (known_incarnation_ != request->incarnation()) return NotRegistered();
  ++heartbeats;
  listed.clear();
  for (const v1::AttemptId& id : request->running()) listed.insert(KeyOf(id));
  for (const AttemptKey& key : to_stop_) *response->add_stop() = ToProto(key);
  changed_.notify_all();
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::AcquireTask(grpc::ServerContext* context, const v1::AcquireTaskRequest* request,
                                          v1::AcquireTaskResponse* response) {
  const auto deadline =
      std::chrono::system_clock::now() + std::chrono::milliseconds(TimeUtil::DurationToMilliseconds(request->wait()));
  std::unique_lock lock(mutex_);
  if (known_incarnation_ != request->incarnation()) return NotRegistered();
  const auto fits = [&] { return !assignments_.empty() && assignments_.front().ranks() <= request->free_slots(); };
  while (!fits() && !away_ && !context->IsCancelled() && std::chrono::system_clock::now() < deadline) {
    changed_.wait_for(lock, std::chrono::milliseconds(20));
  }
  if (away_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
  if (!fits() || context->IsCancelled()) return grpc::Status::OK;
  *response->mutable_assignment() = assignments_.front();
  assignments_.pop_front();
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ReportTask(grpc::ServerContext*, const v1::ReportTaskRequest* request,
                                         v1::ReportTaskResponse*) {
  const AttemptKey key = KeyOf(request->attempt());
  std::unique_lock lock(mutex_);
  if (known_incarnation_ != request->incarnation()) return NotRegistered();
  changed_.notify_all();
  if (stale_.count(key) > 0) {
    ++refused_reports;
    return ToGrpc(MakeError(absl::StatusCode::kFailedPrecondition, v1::STALE_EPOCH, "a newer attempt exists"));
  }
  if (request->asks_to_publish()) questions.push_back(key);
  if (request->has_outcome()) outcomes.emplace_back(key, request->outcome());
  if (request->has_outcome() && lose_answer_) {
    lose_answer_ = false;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
  }
  if (request->has_outcome()) changed_.wait(lock, [this] { return !hold_answers_; });
  return grpc::Status::OK;
}

void FakeCoordinator::HoldAnswers(bool hold) {
  const std::lock_guard lock(mutex_);
  hold_answers_ = hold;
  changed_.notify_all();
}

grpc::Status FakeCoordinator::PushLogs(grpc::ServerContext*, const v1::PushLogsRequest* request,
                                       v1::PushLogsResponse*) {
  const std::lock_guard lock(mutex_);
  for (const v1::AttemptReport& report : request->reports()) {
    logs.insert(logs.end(), report.logs().begin(), report.logs().end());
    metrics.insert(metrics.end(), report.metrics().begin(), report.metrics().end());
    if (report.has_progress()) progress[KeyOf(report.attempt())] = report.progress();
  }
  changed_.notify_all();
  return grpc::Status::OK;
}

}  // namespace regroup
