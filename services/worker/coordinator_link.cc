#include "services/worker/coordinator_link.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <utility>

#include "services/common/rpc/status.h"

namespace regroup {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallPatience{10'000};
/// The coordinator answers an Acquire when its wait is over; this much later the call counts as lost.
constexpr milliseconds kAnswerSlack{5'000};

constexpr size_t kLongestMessage = 16 << 10;

/// Returns at most `longest` bytes of the text, and no part of a character.
std::string CutText(const std::string& text, size_t longest) {
  size_t end = std::min(longest, text.size());
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

void SetDeadline(grpc::ClientContext& context, milliseconds patience) {
  context.set_deadline(std::chrono::system_clock::now() + patience);
}

void AddRunning(const std::vector<AttemptKey>& running, google::protobuf::RepeatedPtrField<v1::AttemptId>* list) {
  for (const AttemptKey& key : running) *list->Add() = ToProto(key);
}

}  // namespace

CoordinatorLink::CoordinatorLink(std::shared_ptr<grpc::Channel> channel, WorkerIdentity identity)
    : channel_(std::move(channel)), stub_(v1::WorkerService::NewStub(channel_)), identity_(std::move(identity)) {}

template <typename Request>
Request CoordinatorLink::NewRequest() const {
  Request request;
  request.set_worker(identity_.id);
  request.set_incarnation(identity_.incarnation);
  return request;
}

absl::StatusOr<v1::RegisterWorkerResponse> CoordinatorLink::Register(const WorkerDescription& worker,
                                                                     const std::vector<AttemptKey>& running,
                                                                     milliseconds patience) {
  auto request = NewRequest<v1::RegisterWorkerRequest>();
  request.set_slots(worker.slots);
  request.set_device(worker.device);
  request.set_device_name(worker.device_name);
  request.set_host(worker.host);
  request.set_version(worker.version);
  request.set_gang_address(worker.gang_address);
  AddRunning(running, request.mutable_running());
  grpc::ClientContext context;
  SetDeadline(context, patience);
  v1::RegisterWorkerResponse response;
  const absl::Status status = FromGrpc(stub_->RegisterWorker(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<v1::HeartbeatResponse> CoordinatorLink::Heartbeat(const std::vector<AttemptKey>& running,
                                                                 milliseconds patience) {
  auto request = NewRequest<v1::HeartbeatRequest>();
  AddRunning(running, request.mutable_running());
  grpc::ClientContext context;
  SetDeadline(context, patience);
  v1::HeartbeatResponse response;
  const absl::Status status = FromGrpc(stub_->Heartbeat(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<std::optional<v1::TaskAssignment>> CoordinatorLink::Acquire(int free_slots, milliseconds wait) {
  auto request = NewRequest<v1::AcquireTaskRequest>();
  request.set_free_slots(free_slots);
  *request.mutable_wait() = google::protobuf::util::TimeUtil::MillisecondsToDuration(wait.count());
  grpc::ClientContext context;
  SetDeadline(context, wait + kAnswerSlack);
  if (!TrackAcquire(&context)) return absl::CancelledError("the worker is stopping");
  v1::AcquireTaskResponse response;
  const absl::Status status = FromGrpc(stub_->AcquireTask(&context, request, &response));
  ForgetAcquire(&context);
  if (!status.ok()) return status;
  if (!response.has_assignment()) return std::optional<v1::TaskAssignment>();
  return std::optional<v1::TaskAssignment>(std::move(*response.mutable_assignment()));
}

absl::Status CoordinatorLink::AskToPublish(const AttemptKey& attempt) {
  auto request = NewRequest<v1::ReportTaskRequest>();
  request.set_asks_to_publish(true);
  return Report(attempt, std::move(request));
}

absl::Status CoordinatorLink::ReportOutcome(const AttemptKey& attempt, const v1::TaskOutcome& outcome) {
  auto request = NewRequest<v1::ReportTaskRequest>();
  *request.mutable_outcome() = outcome;
  // A hostile file may have made its way into the message; the coordinator accepts 64 KiB.
  if (outcome.failure().message().size() > kLongestMessage) {
    request.mutable_outcome()->mutable_failure()->set_message(CutText(outcome.failure().message(), kLongestMessage));
  }
  return Report(attempt, std::move(request));
}

absl::Status CoordinatorLink::Report(const AttemptKey& attempt, v1::ReportTaskRequest request) {
  *request.mutable_attempt() = ToProto(attempt);
  grpc::ClientContext context;
  SetDeadline(context, kCallPatience);
  v1::ReportTaskResponse response;
  return FromGrpc(stub_->ReportTask(&context, request, &response));
}

absl::Status CoordinatorLink::PushLogs(const v1::AttemptReport& report) {
  auto request = NewRequest<v1::PushLogsRequest>();
  *request.add_reports() = report;
  grpc::ClientContext context;
  SetDeadline(context, kCallPatience);
  v1::PushLogsResponse response;
  return FromGrpc(stub_->PushLogs(&context, request, &response));
}

bool CoordinatorLink::TrackAcquire(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  if (!cancelled_) acquiring_.insert(context);
  return !cancelled_;
}

void CoordinatorLink::ForgetAcquire(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  acquiring_.erase(context);
}

void CoordinatorLink::CancelAcquire() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* context : acquiring_) context->TryCancel();
}

}  // namespace regroup
