#include "tests/load/puppet_worker.h"

#include <thread>

#include "coordinator/job/time.h"

namespace regroup {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPause(20);
constexpr milliseconds kBeatInterval(250);
constexpr milliseconds kPatience(2000);
constexpr int kLayers = 2;

v1::TaskOutcome SuccessOf(v1::TaskKind kind) {
  v1::TaskOutcome outcome;
  if (kind != v1::TASK_KIND_INSPECT) return outcome;
  v1::ModelSummary& model = *outcome.mutable_model();
  model.set_family("llama");
  model.set_layers(kLayers);
  model.set_heads(8);
  model.set_kv_heads(8);
  return outcome;
}

}  // namespace

PuppetWorker::PuppetWorker(const Connection& connection, Journal* journal, PuppetOptions options)
    : options_(std::move(options)),
      journal_(journal),
      stub_(connection.workers()),
      incarnation_(std::random_device{}()),
      random_(options_.seed) {}

void PuppetWorker::Run(const std::atomic<bool>& stop) {
  while (!stop) {
    KeepRegistered();
    if (const auto assignment = Acquire(kBeatInterval)) Attempt(*assignment);
  }
}

void PuppetWorker::KeepRegistered() {
  if (!is_registered_) Register();
  Beat();
}

void PuppetWorker::Register() {
  v1::RegisterWorkerRequest request;
  request.set_worker(options_.id);
  request.set_incarnation(incarnation_);
  request.set_slots(1);
  request.set_version(REGROUP_VERSION);
  request.set_device("cpu");
  if (running_) *request.add_running() = *running_;
  v1::RegisterWorkerResponse response;
  is_registered_ = Call(*stub_, &v1::WorkerService::Stub::RegisterWorker, request, &response, kPatience).ok();
  if (!is_registered_) std::this_thread::sleep_for(kPause);
  // The heartbeat that follows at once may be told to stop an attempt whose report is on its way.
  last_beat_ = {};
}

void PuppetWorker::Beat() {
  if (std::chrono::steady_clock::now() - last_beat_ >= kBeatInterval) SayWhatRuns();
}

void PuppetWorker::SayWhatRuns() {
  last_beat_ = std::chrono::steady_clock::now();
  v1::HeartbeatRequest request;
  request.set_worker(options_.id);
  request.set_incarnation(incarnation_);
  if (running_) *request.add_running() = *running_;
  v1::HeartbeatResponse response;
  const absl::Status status = Call(*stub_, &v1::WorkerService::Stub::Heartbeat, request, &response, kPatience);
  if (absl::IsNotFound(status)) is_registered_ = false;
}

std::optional<v1::TaskAssignment> PuppetWorker::Acquire(milliseconds wait) {
  v1::AcquireTaskRequest request;
  request.set_worker(options_.id);
  request.set_incarnation(incarnation_);
  request.set_free_slots(1);
  *request.mutable_wait() = ToProto(wait);
  v1::AcquireTaskResponse response;
  const absl::Status status = Call(*stub_, &v1::WorkerService::Stub::AcquireTask, request, &response, wait + kPatience);
  if (absl::IsNotFound(status)) is_registered_ = false;
  if (!status.ok()) std::this_thread::sleep_for(kPause);
  if (!response.has_assignment()) return std::nullopt;
  running_ = response.assignment().attempt();
  return response.assignment();
}

void PuppetWorker::Attempt(const v1::TaskAssignment& assignment) {
  std::uniform_int_distribution<int> pick(0, static_cast<int>(options_.longest_attempt.count()));
  std::this_thread::sleep_for(milliseconds(pick(random_)));
  (void)Finish(assignment);
}

absl::Status PuppetWorker::Finish(const v1::TaskAssignment& assignment) {
  const v1::AttemptId& attempt = assignment.attempt();
  v1::ReportTaskRequest request = ReportOf(attempt);
  absl::Status status;
  if (assignment.kind() == v1::TASK_KIND_REPORT) {
    request.set_asks_to_publish(true);
    status = ReportUntilAnswered(request);
    if (status.ok()) journal_->MayPublish(attempt.job());
  }
  const v1::TaskOutcome success = SuccessOf(assignment.kind());
  if (status.ok()) status = Report(attempt, success);
  Drop();
  if (!status.ok()) return status;
  journal_->Succeeded(attempt);
  *request.mutable_outcome() = success;
  if (Chance(options_.mischief)) MakeMischief(request);
  return status;
}

absl::Status PuppetWorker::Report(const v1::AttemptId& attempt, const v1::TaskOutcome& outcome) {
  v1::ReportTaskRequest request = ReportOf(attempt);
  *request.mutable_outcome() = outcome;
  return ReportUntilAnswered(request);
}

v1::ReportTaskRequest PuppetWorker::ReportOf(const v1::AttemptId& attempt) const {
  v1::ReportTaskRequest request;
  request.set_worker(options_.id);
  request.set_incarnation(incarnation_);
  *request.mutable_attempt() = attempt;
  return request;
}

absl::Status PuppetWorker::ReportUntilAnswered(const v1::ReportTaskRequest& request) {
  while (true) {
    v1::ReportTaskResponse response;
    const absl::Status status = Call(*stub_, &v1::WorkerService::Stub::ReportTask, request, &response, kPatience);
    if (!IsUnanswered(status)) return status;
    if (absl::IsNotFound(status)) is_registered_ = false;
    std::this_thread::sleep_for(kPause);
    // A heartbeat may be told to stop this attempt, whose report a killed coordinator applied without an answer. The
    // attempt has ended, so, like a worker, the puppet goes on until the report itself is answered.
    KeepRegistered();
  }
}

void PuppetWorker::MakeMischief(const v1::ReportTaskRequest& request) {
  v1::ReportTaskRequest other = request;
  v1::ReportTaskResponse response;
  const std::string name = request.attempt().job() + "/" + request.attempt().task();
  absl::Status status = Call(*stub_, &v1::WorkerService::Stub::ReportTask, other, &response, kPatience);
  if (!status.ok() && !IsUnanswered(status)) {
    journal_->Violated("a repeated report of " + name + " was rejected: " + status.ToString());
  }
  other.mutable_attempt()->set_epoch(request.attempt().epoch() - 1);
  other.mutable_outcome()->mutable_failure()->set_failure_class(v1::FAILURE_CLASS_USER);
  other.mutable_outcome()->mutable_failure()->set_message("told of an old attempt");
  status = Call(*stub_, &v1::WorkerService::Stub::ReportTask, other, &response, kPatience);
  if (status.ok()) journal_->Violated("a report of an old attempt of " + name + " was accepted");
}

}  // namespace regroup
