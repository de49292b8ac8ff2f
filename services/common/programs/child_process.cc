#include "services/common/programs/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// posix_spawn's settings, freed at the end.
class SpawnSettings {
 public:
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  void AppendOutputTo(const std::filesystem::path& log) {
    constexpr mode_t mode = 0644;
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, mode);
    posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
  }

  void Redirect(int from, int to) { posix_spawn_file_actions_adddup2(&actions_, from, to); }

  void LeadProcessGroup() {
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP);
  }

  absl::StatusOr<pid_t> Spawn(const std::filesystem::path& program, const std::vector<std::string>& arguments) {
    std::string name = program.string();
    std::vector<char*> argv = {name.data()};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    pid_t id = -1;
    const int error = posix_spawn(&id, name.c_str(), &actions_, &attributes_, argv.data(), environ);
    if (error != 0) return ErrnoStatus(error, "start", program);
    return id;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

std::string EndText(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

/// A pipe whose ends are not inherited.
struct Pipe {
  ~Pipe() {
    CloseWriter();
    if (ends[0] >= 0) close(ends[0]);
  }
  bool Open() { return pipe2(ends.data(), O_CLOEXEC) == 0; }
  void CloseWriter() {
    if (ends[1] >= 0) close(std::exchange(ends[1], -1));
  }
  std::array<int, 2> ends = {-1, -1};
};

/// Reads two pipes together until both are closed, so that neither side waits for the other.
void ReadBoth(int first, std::string& first_text, int second, std::string& second_text) {
  std::array<pollfd, 2> files = {pollfd{first, POLLIN, 0}, pollfd{second, POLLIN, 0}};
  std::array<std::string*, 2> texts = {&first_text, &second_text};
  std::array<char, 1 << 14> buffer{};
  while (files[0].fd >= 0 || files[1].fd >= 0) {
    if (poll(files.data(), files.size(), -1) < 0 && errno != EINTR) return;
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
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Start(const std::filesystem::path& program,
                                                 const std::vector<std::string>& arguments,
                                                 const std::filesystem::path& log) {
  SpawnSettings settings;
  settings.AppendOutputTo(log);
  settings.LeadProcessGroup();
  REGROUP_ASSIGN_OR_RETURN(const pid_t id, settings.Spawn(program, arguments));
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
  int status = 0;
  if (!ended_ && waitpid(id_, &status, WNOHANG) == id_) ended_ = EndText(status);
  return ended_;
}

void ChildProcess::Terminate() {
  if (!Ended()) kill(id_, SIGTERM);
}

void ChildProcess::WaitOrKill(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!Ended() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (Ended()) return;
  kill(id_, SIGKILL);
  int status = 0;
  if (waitpid(id_, &status, 0) == id_) ended_ = EndText(status);
}

absl::StatusOr<Output> RunToEnd(const std::filesystem::path& program, const std::vector<std::string>& arguments) {
  Pipe out;
  Pipe err;
  if (!out.Open() || !err.Open()) return ErrnoStatus(errno, "make a pipe for", program);
  SpawnSettings settings;
  settings.Redirect(out.ends[1], STDOUT_FILENO);
  settings.Redirect(err.ends[1], STDERR_FILENO);
  REGROUP_ASSIGN_OR_RETURN(const pid_t id, settings.Spawn(program, arguments));
  out.CloseWriter();
  err.CloseWriter();
  Output output;
  ReadBoth(out.ends[0], output.standard_output, err.ends[0], output.standard_error);
  int status = 0;
  while (waitpid(id, &status, 0) < 0 && errno == EINTR) {
  }
  constexpr int first_signal_status = 128;
  output.exit_status = WIFSIGNALED(status) ? first_signal_status + WTERMSIG(status) : WEXITSTATUS(status);
  return output;
}

absl::StatusOr<std::filesystem::path> SiblingProgram(const std::string& name) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path sibling = self.parent_path() / name;
  if (!error && access(sibling.c_str(), X_OK) == 0) return sibling;
  return absl::UnavailableError(
      fmt::format("{} is not beside {}; build it, or install all programs into one folder", name, self.string()));
}

}  // namespace regroup
