#include "services/common/programs/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/programs/spawn.h"

namespace regroup {
namespace {

std::string EndText(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

/// A pipe whose ends are not inherited by children.
struct Pipe {
  OwnedDescriptor reader;
  OwnedDescriptor writer;
};

absl::StatusOr<Pipe> MakePipe(const std::filesystem::path& program) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe for", program);
  return Pipe{OwnedDescriptor(ends[0]), OwnedDescriptor(ends[1])};
}

/// Returns the program's path, followed by its arguments.
std::vector<std::string> CommandOf(const std::filesystem::path& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {program.string()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

constexpr size_t kMostOutput = 64 << 20;
constexpr int kVisitMs = 100;

/// Returns why the program must end now, if it must.
absl::Status CheckLimits(const std::filesystem::path& program, const RunLimits& limits, const Output& output,
                         std::chrono::steady_clock::time_point start) {
  if (limits.time.count() > 0 && std::chrono::steady_clock::now() - start > limits.time) {
    return absl::DeadlineExceededError(fmt::format("{} did not finish within {:g} s and was ended",
                                                   program.filename().string(),
                                                   std::chrono::duration<double>(limits.time).count()));
  }
  if (!limits.is_wanted()) return absl::CancelledError(program.filename().string() + " is no longer wanted");
  if (output.standard_output.size() + output.standard_error.size() > kMostOutput) {
    return absl::ResourceExhaustedError(
        fmt::format("{} wrote more than {} MiB and was ended", program.filename().string(), kMostOutput >> 20));
  }
  return absl::OkStatus();
}

/// Reads two pipes together until both are closed, so that neither side waits for the other.
absl::Status ReadBoth(int first, int second, const std::filesystem::path& program, const RunLimits& limits,
                      Output& output) {
  std::array<pollfd, 2> files = {pollfd{first, POLLIN, 0}, pollfd{second, POLLIN, 0}};
  std::array<std::string*, 2> texts = {&output.standard_output, &output.standard_error};
  std::array<char, 1 << 14> buffer{};
  const auto start = std::chrono::steady_clock::now();
  while (files[0].fd >= 0 || files[1].fd >= 0) {
    REGROUP_RETURN_IF_ERROR(CheckLimits(program, limits, output, start));
    if (poll(files.data(), files.size(), kVisitMs) < 0 && errno != EINTR) return ErrnoStatus(errno, "read", program);
    for (size_t i = 0; i < files.size(); ++i) {
      if (files[i].fd < 0 || files[i].revents == 0) continue;
      const ssize_t count = read(files[i].fd, buffer.data(), buffer.size());
      if (count > 0) {
        texts[i]->append(buffer.data(), static_cast<size_t>(count));
      } else if (count == 0 || errno != EINTR) {
        files[i].fd = -1;
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Start(const std::filesystem::path& program,
                                                 const std::vector<std::string>& arguments,
                                                 const std::filesystem::path& log) {
  REGROUP_ASSIGN_OR_RETURN(const OwnedDescriptor output, OpenForAppending(log));
  REGROUP_ASSIGN_OR_RETURN(const pid_t id, Spawn({.arguments = CommandOf(program, arguments),
                                                  .output = output.number(),
                                                  .error = output.number(),
                                                  .inherits_descriptors = true,
                                                  .leads_process_group = true}));
  return ChildProcess(id);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : id_(std::exchange(other.id_, -1)), ended_(std::move(other.ended_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(ended_, other.ended_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (id_ < 0 || Ended()) return;
  kill(id_, SIGKILL);
  waitpid(id_, nullptr, 0);
}

const std::optional<std::string>& ChildProcess::Ended() {
  if (ended_) return ended_;
  int status = 0;
  const pid_t found = waitpid(id_, &status, WNOHANG);
  if (found == id_) ended_ = EndText(status);
  // The kernel has reaped the child already, because this process ignores SIGCHLD.
  if (found < 0 && errno == ECHILD) ended_ = "an unknown status";
  return ended_;
}

void ChildProcess::Terminate() {
  if (!Ended()) kill(id_, SIGTERM);
}

void ChildProcess::WaitOrKill(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!Ended() && std::chrono::steady_clock::now() < deadline) {
    WaitForExits({id_}, std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()));
  }
  if (Ended()) return;
  kill(id_, SIGKILL);
  int status = 0;
  if (waitpid(id_, &status, 0) == id_) ended_ = EndText(status);
}

absl::StatusOr<Output> RunToEnd(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                                const RunLimits& limits) {
  REGROUP_ASSIGN_OR_RETURN(Pipe out, MakePipe(program));
  REGROUP_ASSIGN_OR_RETURN(Pipe err, MakePipe(program));
  REGROUP_ASSIGN_OR_RETURN(const pid_t id, Spawn({.arguments = CommandOf(program, arguments),
                                                  .output = out.writer.number(),
                                                  .error = err.writer.number(),
                                                  .parent_death_signal = SIGKILL,
                                                  .memory_limit = limits.memory}));
  out.writer.Close();
  err.writer.Close();
  Output output;
  const absl::Status read = ReadBoth(out.reader.number(), err.reader.number(), program, limits, output);
  if (!read.ok()) kill(id, SIGKILL);
  int status = 0;
  while (waitpid(id, &status, 0) < 0 && errno == EINTR) {
  }
  REGROUP_RETURN_IF_ERROR(read);
  constexpr int first_signal_status = 128;
  output.exit_status = WIFSIGNALED(status) ? first_signal_status + WTERMSIG(status) : WEXITSTATUS(status);
  return output;
}

absl::StatusOr<std::filesystem::path> SiblingProgram(const std::string& name) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path sibling = self.parent_path() / name;
  if (!error && access(sibling.c_str(), X_OK) == 0) return sibling;
  return absl::UnavailableError(fmt::format(
      "{} is not in the folder of {}; build it, or use Regroup's Debian packages or image, which have all programs",
      name, self.string()));
}

}  // namespace regroup
