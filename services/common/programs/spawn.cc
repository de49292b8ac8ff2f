#include "services/common/programs/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Polling interval if the kernel gives no notification.
constexpr std::chrono::milliseconds kBlindInterval{10};

/// Data that the child needs between fork and exec, where it must not allocate.
struct ChildImage {
  std::vector<char*> arguments;
  /// Empty: this process's environment.
  std::vector<char*> environment;
  const char* working_folder;
  const char* join_file;
  int output;
  int error;
  bool inherits_descriptors;
  bool leads_process_group;
  int parent_death_signal;
  size_t memory_limit;
  pid_t parent;
};

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

ChildImage MakeImage(const SpawnPlan& plan) {
  return {.arguments = Pointers(plan.arguments),
          .environment = plan.environment ? Pointers(*plan.environment) : std::vector<char*>(),
          .working_folder = plan.working_folder.c_str(),
          .join_file = plan.join_file.c_str(),
          .output = plan.output,
          .error = plan.error,
          .inherits_descriptors = plan.inherits_descriptors,
          .leads_process_group = plan.leads_process_group,
          .parent_death_signal = plan.parent_death_signal,
          .memory_limit = plan.memory_limit,
          .parent = getpid()};
}

// From here to ExecuteChild, use only calls that are safe after fork in a multi-threaded program.

bool ConnectStandardStreams(const ChildImage& image) {
  // Duplicate to descriptors above the standard three, because one of those may be closed in this process and in use
  // for these.
  constexpr int lowest = STDERR_FILENO + 1;
  const int output = fcntl(image.output, F_DUPFD_CLOEXEC, lowest);
  const int error = fcntl(image.error, F_DUPFD_CLOEXEC, lowest);
  const int input = fcntl(open("/dev/null", O_RDONLY | O_CLOEXEC), F_DUPFD_CLOEXEC, lowest);
  return output >= 0 && error >= 0 && input >= 0 && dup2(input, STDIN_FILENO) == STDIN_FILENO &&
         dup2(output, STDOUT_FILENO) == STDOUT_FILENO && dup2(error, STDERR_FILENO) == STDERR_FILENO;
}

void JoinControlGroup(const char* join_file) {
  if (*join_file == '\0') return;
  const int fd = open(join_file, O_WRONLY | O_CLOEXEC);
  if (fd >= 0) static_cast<void>(!write(fd, "0", 1));
}

/// Limits private writable memory, not the address space, of which libtorch's files alone take much.
bool LimitMemory(size_t limit) {
  if (limit == 0) return true;
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) static_cast<void>(!write(fd, "1000", 4));
  const rlimit memory = {.rlim_cur = limit, .rlim_max = limit};
  return setrlimit(RLIMIT_DATA, &memory) == 0;
}

/// A child in the caller's process group keeps ignoring what the caller ignores: a hangup or an interrupt reaches both.
void ResetSignals(bool leads_process_group) {
  for (int number = 1; number < NSIG; ++number) {
    if (leads_process_group || (number != SIGHUP && number != SIGINT && number != SIGQUIT)) signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool DieWithParent(const ChildImage& image) {
  if (image.parent_death_signal == 0) return true;
  if (prctl(PR_SET_PDEATHSIG, image.parent_death_signal) != 0) return false;
  // The parent may have died before the line above.
  if (getppid() != image.parent) _exit(127);
  return true;
}

bool PrepareChild(const ChildImage& image) {
  if (image.leads_process_group && setpgid(0, 0) != 0) return false;
  if (!DieWithParent(image)) return false;
  JoinControlGroup(image.join_file);
  ResetSignals(image.leads_process_group);
  if (*image.working_folder != '\0' && chdir(image.working_folder) != 0) return false;
  return LimitMemory(image.memory_limit) && ConnectStandardStreams(image);
}

/// Never returns. A failure is written to `error_fd` as an errno; success closes it by exec.
[[noreturn]] void ExecuteChild(const ChildImage& image, int error_fd) {
  if (PrepareChild(image)) {
    if (!image.inherits_descriptors) syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
    execve(image.arguments[0], image.arguments.data(), image.environment.empty() ? environ : image.environment.data());
  }
  const int error_number = errno;
  const ssize_t ignored = write(error_fd, &error_number, sizeof error_number);
  _exit(ignored > 0 ? 127 : 126);
}

/// Returns 0 once the child runs its program, or the errno that prevented it.
int ReadStartError(int fd) {
  int error_number = 0;
  ssize_t count;
  do {
    count = read(fd, &error_number, sizeof error_number);
  } while (count < 0 && errno == EINTR);
  return count == sizeof error_number ? error_number : 0;
}

/// Returns true once the process has ended, false at the deadline.
bool WaitForExit(const OwnedDescriptor& exit, std::chrono::steady_clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd event = {exit.number(), POLLIN, 0};
    const int count = poll(&event, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (count >= 0 || errno != EINTR) return count > 0;
  }
}

}  // namespace

OwnedDescriptor::OwnedDescriptor(OwnedDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}

OwnedDescriptor& OwnedDescriptor::operator=(OwnedDescriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

void OwnedDescriptor::Close() {
  if (number_ >= 0) close(std::exchange(number_, -1));
}

absl::StatusOr<OwnedDescriptor> OpenForAppending(const std::filesystem::path& file) {
  OwnedDescriptor opened(open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kPrivateFile));
  if (opened.number() < 0) return ErrnoStatus(errno, "open", file);
  return opened;
}

absl::StatusOr<pid_t> Spawn(const SpawnPlan& plan) {
  const ChildImage image = MakeImage(plan);
  std::array<int, 2> error_pipe;
  if (pipe2(error_pipe.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe for", plan.arguments[0]);
  const OwnedDescriptor reader(error_pipe[0]);
  OwnedDescriptor low_writer(error_pipe[1]);
  // Where this process has closed a standard descriptor, the pipe may have taken its number, and the child's streams
  // would replace it.
  OwnedDescriptor writer(fcntl(low_writer.number(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (writer.number() < 0) return ErrnoStatus(errno, "make a pipe for", plan.arguments[0]);
  low_writer.Close();
  const pid_t child = fork();
  if (child == 0) ExecuteChild(image, writer.number());
  if (child < 0) return ErrnoStatus(errno, "start", plan.arguments[0]);
  writer.Close();
  const int start_error = ReadStartError(reader.number());
  if (start_error == 0) return child;
  waitpid(child, nullptr, 0);
  return ErrnoStatus(start_error, "start", plan.arguments[0]);
}

OwnedDescriptor ExitDescriptor(pid_t process) {
  return OwnedDescriptor(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
}

void WaitForExits(const std::vector<pid_t>& processes, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (const pid_t process : processes) {
    const OwnedDescriptor exit = ExitDescriptor(process);
    if (exit.number() < 0 && errno == ESRCH) continue;
    if (exit.number() < 0) return std::this_thread::sleep_for(std::min(patience, kBlindInterval));
    if (!WaitForExit(exit, deadline)) return;
  }
}

}  // namespace regroup
