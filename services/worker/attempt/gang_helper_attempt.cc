#include "services/worker/attempt/gang_helper_attempt.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/trace_parent.h"
#include "services/common/job_file/allowed_paths.h"
#include "services/common/rpc/status.h"
#include "services/worker/attempt/runtime_folder.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kVisitInterval{100};
/// Time for the daemon to exit by itself: when mpirun ends, its agents may exit before its daemons do.
constexpr std::chrono::seconds kLeaveGrace{2};
constexpr size_t kBytesPerVisit = 64 << 10;
/// The exit status with which a shell reports that a program could not be started.
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

absl::Status GangHelperAttempt::StartDaemon(std::shared_ptr<DaemonRun> run) {
  const std::vector<FieldViolation> violations =
      CheckAllowedPaths(assignment_.spec(), services_->options.allowed_paths);
  if (!violations.empty()) {
    return Precondition(fmt::format("{}: {}", violations.front().field(), violations.front().description()));
  }
  const std::lock_guard lock(mutex_);
  if (run_ != nullptr) return Precondition("the daemon of this attempt was already started");
  if (stop_request_ || ended_) return Precondition("the attempt is being stopped");
  run_ = std::move(run);
  changed_.notify_all();
  return absl::OkStatus();
}

v1::TaskOutcome GangHelperAttempt::Run() {
  const auto contact = RelayContact::Open(assignment_.gang(), services_->options);
  if (contact.ok()) {
    AcceptRanks(*contact);
  } else {
    LogError(std::string(contact.status().message()), {{"job", key_.job}, {"task", key_.task}});
  }
  if (WaitForCall()) run_->End(RunDaemon());
  std::error_code ignored;
  std::filesystem::remove_all(shared_memory_folder_, ignored);
  return {};
}

bool GangHelperAttempt::WaitForCall() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, services_->options.attest_patience, [this] { return stop_request_ || run_ != nullptr; });
  if (run_ != nullptr) return true;
  // From here on StartDaemon rejects calls.
  if (!stop_request_) stop_request_ = StopRequest{{v1::FAILURE_CLASS_INFRA, "the lead never called"}, true};
  LogInfo("the gang's lead never asked for the daemon", {{"job", key_.job},
                                                         {"task", key_.task},
                                                         {"epoch", key_.epoch},
                                                         {"lead", assignment_.gang().members(0).worker()},
                                                         {"reason", stop_request_->verdict.message}});
  return false;
}

v1::DaemonExit GangHelperAttempt::RunDaemon() {
  const absl::Status status = StartRanks();
  if (!status.ok()) {
    LogError(std::string(status.message()), {{"job", key_.job}, {"task", key_.task}, {"epoch", key_.epoch}});
    run_->AddLine(std::string(status.message()));
    v1::DaemonExit exit;
    exit.set_status(kCannotStart);
    return exit;
  }
  Supervise(kVisitInterval);
  KillEverything();
  ForwardOutput();
  for (auto* tail : {&stdout_, &stderr_}) {
    (*tail)->ReadUnfinishedLine([this](std::string_view line) { run_->AddLine(std::string(line)); });
  }
  v1::DaemonExit exit = ExitOf(processes_->wait_status());
  if (const std::optional<StopRequest> request = stop_request()) exit.set_reason(request->verdict.message);
  return exit;
}

absl::Status GangHelperAttempt::StartRanks() {
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(temporary_folder_));
  shared_memory_folder_ = MakeSharedMemoryFolder(WorkerKey(services_->options), number_, temporary_folder_);
  LaunchContext context = MakeLaunchContext();
  context.shared_memory_folder = shared_memory_folder_;
  const ProcessPlan plan = MakeDaemonPlan(services_->options, assignment_, context, run_->arguments());
  stdout_.emplace(plan.stdout_file);
  stderr_.emplace(plan.stderr_file);
  REGROUP_RETURN_IF_ERROR(StartProcesses(plan));
  LogInfo("gang joined", {{"job", key_.job},
                          {"task", key_.task},
                          {"epoch", key_.epoch},
                          {"ranks", RanksHere(assignment_)},
                          {"lead", assignment_.gang().members(0).worker()},
                          {"process", processes_->leader()},
                          {kTraceparentKey, assignment_.traceparent()}});
  return absl::OkStatus();
}

std::optional<StopRequest> GangHelperAttempt::FindReasonToStop(SteadyTime now) {
  if (run_->is_abandoned()) {
    LogInfo("the lead's call ended", {{"job", key_.job}, {"task", key_.task}, {"epoch", key_.epoch}});
    // The daemon exits by itself, as mpirun did.
    kill_time_ = now + kLeaveGrace;
  }
  return std::nullopt;
}

void GangHelperAttempt::OnStop(const StopRequest&) { processes_->Signal(SIGTERM); }

void GangHelperAttempt::ForwardOutput() {
  for (auto* tail : {&stdout_, &stderr_}) {
    (*tail)->ReadLines(kBytesPerVisit, [this](std::string_view line) { run_->AddLine(std::string(line)); });
  }
}

}  // namespace regroup
