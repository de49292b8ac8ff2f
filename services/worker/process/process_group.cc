#include "services/worker/process/process_group.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "services/common/base/files.h"
#include "services/worker/process/process_scan.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kKillPatience{20};

/// Everything that the child needs between fork and exec, where it may not allocate.
struct ChildImage {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  const char* working_folder;
  const char* stdout_file;
  const char* stderr_file;
  std::string control_group_file;
  int parent_death_signal;
  pid_t parent;
};

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

ChildImage MakeImage(const ProcessPlan& plan, const std::optional<ControlGroup>& control_group) {
  return {.arguments = Pointers(plan.arguments),
          .environment = Pointers(plan.environment),
          .working_folder = plan.working_folder.c_str(),
          .stdout_file = plan.stdout_file.c_str(),
          .stderr_file = plan.stderr_file.c_str(),
          .control_group_file = control_group ? control_group->join_file().string() : "",
          .parent_death_signal = plan.parent_death_signal,
          .parent = getpid()};
}

// From here to ExecuteChild only calls that are safe after fork in a program with threads.

bool Redirect(const char* path, int flags, int target) {
  const int fd = open(path, flags, 0644);
  return fd >= 0 && dup2(fd, target) == target && (fd == target || close(fd) == 0);
}

void JoinControlGroup(const char* join_file) {
  if (*join_file == '\0') return;
  const int fd = open(join_file, O_WRONLY | O_CLOEXEC);
  // A failure is not fatal: the process group and the marker still hold the attempt.
  if (fd >= 0) static_cast<void>(!write(fd, "0", 1));
}

void ResetSignals() {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool PrepareChild(const ChildImage& image) {
  if (setpgid(0, 0) != 0) return false;
  if (prctl(PR_SET_PDEATHSIG, image.parent_death_signal) != 0) return false;
  // The worker may have died before the line above.
  if (getppid() != image.parent) _exit(127);
  JoinControlGroup(image.control_group_file.c_str());
  ResetSignals();
  const int output = O_WRONLY | O_CREAT | O_APPEND;
  return chdir(image.working_folder) == 0 && Redirect("/dev/null", O_RDONLY, STDIN_FILENO) &&
         Redirect(image.stdout_file, output, STDOUT_FILENO) && Redirect(image.stderr_file, output, STDERR_FILENO);
}

/// Never returns. A failure is written to `error_fd` as an errno; success closes it by exec.
[[noreturn]] void ExecuteChild(const ChildImage& image, int error_fd) {
  if (PrepareChild(image)) {
    syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
    execve(image.arguments[0], image.arguments.data(), image.environment.data());
  }
  const int error_number = errno;
  const ssize_t ignored = write(error_fd, &error_number, sizeof error_number);
  _exit(ignored > 0 ? 127 : 126);
}

/// 0 once the child runs its program, or the errno that kept it from doing so.
int ReadStartError(int fd) {
  int error_number = 0;
  ssize_t count;
  do {
    count = read(fd, &error_number, sizeof error_number);
  } while (count < 0 && errno == EINTR);
  return count == sizeof error_number ? error_number : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessGroup>> ProcessGroup::Start(const ProcessPlan& plan,
                                                                  std::optional<ControlGroup> control_group) {
  const ChildImage image = MakeImage(plan, control_group);
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe for", plan.arguments[0]);
  const pid_t child = fork();
  if (child == 0) ExecuteChild(image, error_pipe[1]);
  const int fork_error = errno;
  close(error_pipe[1]);
  const int start_error = child < 0 ? fork_error : ReadStartError(error_pipe[0]);
  close(error_pipe[0]);
  if (child < 0) return ErrnoStatus(fork_error, "start", plan.arguments[0]);
  if (start_error != 0) {
    waitpid(child, nullptr, 0);
    return ErrnoStatus(start_error, "start", plan.arguments[0]);
  }
  const int exit_fd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  return std::unique_ptr<ProcessGroup>(
      new ProcessGroup(child, exit_fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), std::move(control_group), plan.marker));
}

ProcessGroup::ProcessGroup(pid_t leader, int exit_fd, int wake_fd, std::optional<ControlGroup> control_group,
                           std::vector<std::string> marker)
    : leader_(leader),
      exit_fd_(exit_fd),
      wake_fd_(wake_fd),
      control_group_(std::move(control_group)),
      marker_(std::move(marker)) {}

ProcessGroup::~ProcessGroup() {
  static_cast<void>(KillEverything());
  if (exit_fd_ >= 0) close(exit_fd_);
  close(wake_fd_);
}

bool ProcessGroup::LeaderEnded() const {
  siginfo_t info{};
  return reaped_ || (waitid(P_PID, leader_, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == leader_);
}

bool ProcessGroup::WaitForExit(std::chrono::milliseconds patience) {
  if (LeaderEnded()) return true;
  // Without pidfd_open (Linux before 5.3) poll ignores the negative descriptor, and the time-out does the work.
  pollfd events[] = {{wake_fd_, POLLIN, 0}, {exit_fd_, POLLIN, 0}};
  poll(events, 2, static_cast<int>(patience.count()));
  uint64_t wakes;
  static_cast<void>(!read(wake_fd_, &wakes, sizeof wakes));
  return LeaderEnded();
}

void ProcessGroup::Wake() {
  const uint64_t one = 1;
  static_cast<void>(!write(wake_fd_, &one, sizeof one));
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
    // The group before the leader is reaped: until then nothing else can be given its number.
    kill(-leader_, SIGKILL);
    reaped_ = waitpid(leader_, &wait_status_, 0) == leader_;
  }
  return KillUntilGone([this] { return Remaining(); }, kKillPatience, fmt::format("attempt {}", marker_.front()));
}

}  // namespace regroup
