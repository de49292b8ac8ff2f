#include "services/worker/attempt/gang_helper_attempt.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/allowed_paths.h"
#include "services/common/rpc/status.h"
#include "services/worker/attempt/runtime_folder.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kVisitInterval{100};
/// When mpirun ends, its agents may be gone before its daemons are.
constexpr std::chrono::seconds kLeaveGrace{2};
constexpr size_t kBytesPerVisit = 64 << 10;
/// As a shell says that a program could not be started.
constexpr int kCannotStart = 127;

v1::DaemonExit ExitOf(int wait_status) {
  v1::DaemonExit exit;
  if (WIFSIGNALED(wait_status)) {
    exit.set_signal(WTERMSIG(wait_status));
  } else {
    exit.set_status(WEXITSTATUS(wait_status));
  }
  return exit;
}

absl::Status Precondition(const std::string& message) {
  return MakeError(absl::StatusCode::kFailedPrecondition, v1::WRONG_STATE, message);
}

}  // namespace

GangHelperAttempt::GangHelperAttempt(v1::TaskAssignment assignment, std::string visible_devices,
                                     const AttemptServices* services, EndCallback on_end)
    : assignment_(std::move(assignment)),
      key_(KeyOf(assignment_.attempt())),
      visible_devices_(std::move(visible_devices)),
      services_(services),
      number_(NextAttemptNumber()),
      temporary_folder_(services->runtime_folder / fmt::format("t{}", number_)),
      collector_(std::make_shared<LogCollector>(key_, services->options.id)) {
  thread_ = std::thread([this, on_end = std::move(on_end)] { Run(on_end); });
}

GangHelperAttempt::~GangHelperAttempt() {
  RequestStop({.verdict = {v1::FAILURE_CLASS_INFRA, "the worker dropped the attempt"}, .at_once = true});
  thread_.join();
}

void GangHelperAttempt::RequestStop(StopRequest request) {
  const std::lock_guard lock(mutex_);
  AddStopRequest(std::move(request), stop_request_);
  if (processes_) processes_->Wake();
  changed_.notify_all();
}

void GangHelperAttempt::WaitForEnd() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
}

absl::Status GangHelperAttempt::StartDaemon(std::shared_ptr<DaemonRun> run) {
  const std::vector<FieldViolation> violations =
      CheckAllowedPaths(assignment_.spec(), services_->options.allowed_paths);
  if (!violations.empty()) {
    return Precondition(fmt::format("{}: {}", violations.front().field(), violations.front().description()));
  }
  const std::lock_guard lock(mutex_);
  if (run_ != nullptr) return Precondition("the daemon of this attempt was started before");
  if (stop_request_ || ended_) return Precondition("the attempt is being stopped");
  run_ = std::move(run);
  changed_.notify_all();
  return absl::OkStatus();
}

void GangHelperAttempt::Run(const EndCallback& on_end) {
  const auto contact = RelayContact::Open(assignment_.gang(), services_->options);
  if (!contact.ok()) LogError(std::string(contact.status().message()), {{"job", key_.job}, {"task", key_.task}});
  if (contact.ok()) services_->trainer_server->Add(gang_token(), *contact);
  if (WaitForCall()) run_->End(RunDaemon());
  services_->trainer_server->Remove(gang_token());
  std::error_code ignored;
  std::filesystem::remove_all(temporary_folder_, ignored);
  std::filesystem::remove_all(shared_memory_folder_, ignored);
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  on_end(key_, {});
}

/// False if the attempt ends before the lead has called.
bool GangHelperAttempt::WaitForCall() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, services_->options.attest_patience, [this] { return stop_request_ || run_ != nullptr; });
  if (run_ != nullptr) return true;
  // From here on StartDaemon refuses.
  if (!stop_request_) stop_request_ = StopRequest{{v1::FAILURE_CLASS_INFRA, "the lead never called"}, true};
  LogInfo("the gang's daemon was never asked for", {{"job", key_.job},
                                                    {"task", key_.task},
                                                    {"epoch", key_.epoch},
                                                    {"lead", assignment_.gang().members(0).worker()},
                                                    {"reason", stop_request_->verdict.message}});
  return false;
}

v1::DaemonExit GangHelperAttempt::RunDaemon() {
  const absl::Status status = StartProcesses();
  if (!status.ok()) {
    LogError(std::string(status.message()), {{"job", key_.job}, {"task", key_.task}, {"epoch", key_.epoch}});
    run_->AddLine(std::string(status.message()));
    v1::DaemonExit exit;
    exit.set_status(kCannotStart);
    return exit;
  }
  Supervise();
  KillEverythingOf(key_, *processes_);
  Forward();
  for (auto* tail : {&stdout_, &stderr_}) {
    (*tail)->ReadUnfinishedLine([this](std::string_view line) { run_->AddLine(std::string(line)); });
  }
  v1::DaemonExit exit = ExitOf(processes_->wait_status());
  const std::lock_guard lock(mutex_);
  if (stop_request_) exit.set_reason(stop_request_->verdict.message);
  return exit;
}

absl::Status GangHelperAttempt::StartProcesses() {
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(temporary_folder_));
  const ProcessPlan plan = MakeDaemonPlan(services_->options, assignment_,
                                          {.socket = services_->trainer_server->socket(),
                                           .token = gang_token(),
                                           .attempt_folder = AttemptFolder(services_->options.work_folder, key_),
                                           .temporary_folder = temporary_folder_,
                                           .shared_memory_folder = shared_memory_folder_,
                                           .cores = services_->cores,
                                           .visible_devices = visible_devices_,
                                           .inherited = services_->inherited},
                                          run_->arguments());
  stdout_.emplace(plan.stdout_file);
  stderr_.emplace(plan.stderr_file);
  REGROUP_ASSIGN_OR_RETURN(
      std::unique_ptr<ProcessGroup> processes,
      ProcessGroup::Start(plan, ControlGroup::Create(
                                    fmt::format("{}{}", ControlGroupPrefix(services_->options), NextAttemptNumber()))));
  LogInfo("gang joined", {{"job", key_.job},
                          {"task", key_.task},
                          {"epoch", key_.epoch},
                          {"ranks", ranks()},
                          {"lead", assignment_.gang().members(0).worker()},
                          {"process", processes->leader()}});
  const std::lock_guard lock(mutex_);
  processes_ = std::move(processes);
  return absl::OkStatus();
}

void GangHelperAttempt::Supervise() {
  while (!processes_->WaitForExit(kVisitInterval)) {
    Forward();
    if (MustKill(std::chrono::steady_clock::now())) return;
  }
}

bool GangHelperAttempt::MustKill(SteadyTime now) {
  std::optional<StopRequest> request;
  {
    const std::lock_guard lock(mutex_);
    request = stop_request_;
  }
  if (request && !kill_time_) {
    processes_->Signal(SIGTERM);
    kill_time_ = now + services_->options.stop_grace;
  }
  if (request && request->at_once) kill_time_ = now;
  if (!kill_time_ && run_->is_abandoned()) {
    LogInfo("the lead's call ended", {{"job", key_.job}, {"task", key_.task}, {"epoch", key_.epoch}});
    kill_time_ = now + kLeaveGrace;
  }
  return kill_time_ && now >= *kill_time_;
}

void GangHelperAttempt::Forward() {
  for (auto* tail : {&stdout_, &stderr_}) {
    (*tail)->ReadLines(kBytesPerVisit, [this](std::string_view line) { run_->AddLine(std::string(line)); });
  }
}

}  // namespace regroup
