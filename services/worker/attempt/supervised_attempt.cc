#include "services/worker/attempt/supervised_attempt.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/random_bytes.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr size_t kTokenBytes = 16;

int NextAttemptNumber() {
  static std::atomic<int> number{0};
  return ++number;
}

v1::TaskAssignment WithAtLeastOneRank(v1::TaskAssignment assignment) {
  assignment.set_ranks(std::max(1, assignment.ranks()));
  return assignment;
}

}  // namespace

SupervisedAttempt::SupervisedAttempt(v1::TaskAssignment assignment, std::string visible_devices,
                                     const AttemptServices* services)
    : assignment_(WithAtLeastOneRank(std::move(assignment))),
      key_(KeyOf(assignment_.attempt())),
      services_(services),
      number_(NextAttemptNumber()),
      folder_(AttemptFolder(services->options.work_folder, key_)),
      temporary_folder_(services->runtime_folder / fmt::format("t{}", number_)),
      token_(is_spread() ? gang_token() : RandomHex(kTokenBytes).value_or("")),
      collector_(services->collectors->Add(key_, services->options.id)),
      visible_devices_(std::move(visible_devices)) {}

void SupervisedAttempt::Start(EndCallback on_end) {
  thread_ = std::thread([this, on_end = std::move(on_end)] { RunAndAnnounce(on_end); });
}

void SupervisedAttempt::EndThread() {
  RequestStop({.verdict = {v1::FAILURE_CLASS_INFRA, "the worker dropped the attempt"}, .at_once = true});
  if (thread_.joinable()) thread_.join();
}

void SupervisedAttempt::RunAndAnnounce(const EndCallback& on_end) {
  const v1::TaskOutcome outcome = Run();
  services_->trainer_server->Remove(token_);
  std::error_code ignored;
  std::filesystem::remove_all(temporary_folder_, ignored);
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  on_end(key_, outcome);
}

void SupervisedAttempt::RequestStop(StopRequest request) {
  const std::lock_guard lock(mutex_);
  if (!stop_request_) {
    stop_request_ = std::move(request);
  } else {
    stop_request_->at_once |= request.at_once;
  }
  if (processes_) processes_->Wake();
  changed_.notify_all();
}

std::optional<StopRequest> SupervisedAttempt::stop_request() const {
  const std::lock_guard lock(mutex_);
  return stop_request_;
}

void SupervisedAttempt::WaitForEnd() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
}

absl::Status SupervisedAttempt::StartDaemon(std::shared_ptr<DaemonRun>) {
  return absl::FailedPreconditionError("this worker leads the attempt and runs no daemon for it");
}

void SupervisedAttempt::AcceptRanks(std::shared_ptr<RankContact> contact) {
  services_->trainer_server->Add(token_, std::move(contact));
}

LaunchContext SupervisedAttempt::MakeLaunchContext() const {
  return {.socket = services_->trainer_server->socket(),
          .token = token_,
          .attempt_folder = folder_,
          .temporary_folder = temporary_folder_,
          .cores = services_->cores,
          .visible_devices = visible_devices_,
          .inherited = services_->inherited};
}

absl::Status SupervisedAttempt::StartProcesses(const ProcessPlan& plan) {
  std::optional<ControlGroup> group =
      ControlGroup::Create(fmt::format("{}{}", ControlGroupPrefix(services_->options), number_));
  REGROUP_ASSIGN_OR_RETURN(std::unique_ptr<ProcessGroup> processes, ProcessGroup::Start(plan, std::move(group)));
  const std::lock_guard lock(mutex_);
  processes_ = std::move(processes);
  return absl::OkStatus();
}

bool SupervisedAttempt::Supervise(std::chrono::milliseconds interval) {
  while (!processes_->WaitForExit(interval)) {
    ForwardOutput();
    if (MustKill(std::chrono::steady_clock::now())) return true;
  }
  return false;
}

bool SupervisedAttempt::MustKill(SteadyTime now) {
  std::optional<StopRequest> request = stop_request();
  if (!request && !kill_time_) request = FindReasonToStop(now);
  if (request && !kill_time_) {
    kill_time_ = now + services_->options.stop_grace;
    OnStop(*request);
  }
  if (request && request->at_once) kill_time_ = now;
  return kill_time_ && now >= *kill_time_;
}

void SupervisedAttempt::KillEverything() {
  // The end may be announced only when no process is left.
  while (true) {
    const absl::Status status = processes_->KillEverything();
    if (status.ok()) return;
    LogError(std::string(status.message()), {{"job", key_.job}, {"task", key_.task}, {"epoch", key_.epoch}});
  }
}

absl::Status MakeFreshFolder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (error) return ErrnoStatus(error.value(), "remove", folder);
  return MakeFolders(folder);
}

int RanksHere(const v1::TaskAssignment& assignment) {
  const v1::Gang& gang = assignment.gang();
  const bool is_member = gang.member() >= 0 && gang.member() < gang.members_size();
  return std::max(1, is_member ? gang.members(gang.member()).ranks() : assignment.ranks());
}

}  // namespace regroup
