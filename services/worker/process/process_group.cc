#include "services/worker/process/process_group.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "services/common/base/status_macros.h"
#include "services/worker/process/process_scan.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kKillPatience{20};

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessGroup>> ProcessGroup::Start(const ProcessPlan& plan,
                                                                  std::optional<ControlGroup> control_group) {
  REGROUP_ASSIGN_OR_RETURN(const OwnedDescriptor output, OpenForAppending(plan.stdout_file));
  REGROUP_ASSIGN_OR_RETURN(const OwnedDescriptor error, OpenForAppending(plan.stderr_file));
  // A failure to join the group is not fatal: the process group and the marker still hold the attempt.
  REGROUP_ASSIGN_OR_RETURN(const pid_t leader,
                           Spawn({.arguments = plan.arguments,
                                  .environment = plan.environment,
                                  .working_folder = plan.working_folder,
                                  .output = output.number(),
                                  .error = error.number(),
                                  .leads_process_group = true,
                                  .parent_death_signal = plan.parent_death_signal,
                                  .join_file = control_group ? control_group->join_file() : std::filesystem::path()}));
  return std::unique_ptr<ProcessGroup>(new ProcessGroup(leader, std::move(control_group), plan.marker));
}

ProcessGroup::ProcessGroup(pid_t leader, std::optional<ControlGroup> control_group, std::vector<std::string> marker)
    : leader_(leader),
      exit_(ExitDescriptor(leader)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      control_group_(std::move(control_group)),
      marker_(std::move(marker)) {}

ProcessGroup::~ProcessGroup() { static_cast<void>(KillEverything()); }

bool ProcessGroup::LeaderEnded() const {
  siginfo_t info{};
  return reaped_ || (waitid(P_PID, leader_, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == leader_);
}

bool ProcessGroup::WaitForExit(std::chrono::milliseconds patience) {
  if (LeaderEnded()) return true;
  // If the kernel has no process descriptors, poll ignores the negative number and only the timeout ends the wait.
  pollfd events[] = {{wake_.number(), POLLIN, 0}, {exit_.number(), POLLIN, 0}};
  poll(events, 2, static_cast<int>(patience.count()));
  uint64_t wakes;
  static_cast<void>(!read(wake_.number(), &wakes, sizeof wakes));
  return LeaderEnded();
}

void ProcessGroup::Wake() {
  const uint64_t one = 1;
  static_cast<void>(!write(wake_.number(), &one, sizeof one));
}

void ProcessGroup::Signal(int signal_number) {
  if (!reaped_) kill(-leader_, signal_number);
}

std::vector<pid_t> ProcessGroup::Remaining() const {
  std::vector<pid_t> remaining = ProcessesWithEnvironment(marker_);
  if (control_group_) {
    for (const pid_t pid : control_group_->Processes()) remaining.push_back(pid);
  }
  return remaining;
}

absl::Status ProcessGroup::KillEverything() {
  if (control_group_) control_group_->Kill();
  if (!reaped_) {
    // Signals the group before the leader is reaped: until then no other process can get its number.
    kill(-leader_, SIGKILL);
    reaped_ = waitpid(leader_, &wait_status_, 0) == leader_;
  }
  return KillUntilGone([this] { return Remaining(); }, kKillPatience, fmt::format("attempt {}", marker_.front()));
}

}  // namespace regroup
