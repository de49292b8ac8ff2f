// A child process in its own process group, so that Ctrl-C reaches only its parent. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// A running child. On destruction it is killed and reaped if it still runs.
class ChildProcess {
 public:
  /// Starts `program` with standard output and error appended to `log`. It inherits the locks that this process holds
  /// with is_inherited (services/common/base/file_lock.h). NOT_FOUND if the program is missing.
  static absl::StatusOr<ChildProcess> Start(const std::filesystem::path& program,
                                            const std::vector<std::string>& arguments,
                                            const std::filesystem::path& log);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t id() const { return id_; }

  /// Returns how it ended ("exit status 1", "signal 9 (Killed)"); nothing while it runs.
  const std::optional<std::string>& Ended();

  /// Sends SIGTERM to the child.
  void Terminate();

  /// Waits until it ended; kills it after `patience`.
  void WaitOrKill(std::chrono::milliseconds patience);

 private:
  explicit ChildProcess(pid_t id) : id_(id) {}

  pid_t id_ = -1;
  std::optional<std::string> ended_;
};

/// Holds what a program wrote, and its exit status.
struct Output {
  int exit_status = 0;
  std::string standard_output;
  std::string standard_error;
};

/// Limits of a program that runs to its end.
struct RunLimits {
  /// 0: as long as it takes.
  std::chrono::milliseconds time{0};
  /// Memory in bytes, see SpawnPlan; 0: as much as it takes.
  size_t memory = 0;
  /// Asked ten times a second; the program is killed once it returns false.
  std::function<bool()> is_wanted = [] { return true; };
};

/// Runs a program to its end; it dies with the thread that runs it. DEADLINE_EXCEEDED after the time, CANCELLED when it
/// is no longer wanted, RESOURCE_EXHAUSTED if it writes more than 64 MiB: it has been killed then.
absl::StatusOr<Output> RunToEnd(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                                const RunLimits& limits = {});

/// Returns the program of that name in this program's folder. UNAVAILABLE says what to do if it is missing.
absl::StatusOr<std::filesystem::path> SiblingProgram(const std::string& name);

}  // namespace regroup
