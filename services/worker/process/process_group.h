// The processes of one attempt: a leader (the trainer, or mpirun), and everything that it starts.
//
// Owned by the thread that started it: the kernel's parent-death signal fires when that thread ends, not when the
// worker ends, so the thread must outlive the leader. Only Wake may be called from another thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/programs/spawn.h"
#include "services/worker/process/control_group.h"

namespace regroup {

/// The program to start, and where its output goes.
struct ProcessPlan {
  /// The first is the program's path.
  std::vector<std::string> arguments;
  /// "NAME=value"; nothing else is inherited.
  std::vector<std::string> environment;
  std::filesystem::path working_folder;
  std::filesystem::path stdout_file;
  std::filesystem::path stderr_file;
  /// The signal that the leader receives when the worker dies: mpirun needs one that it can handle.
  int parent_death_signal = 9;
  /// The entries of `environment` that identify this attempt.
  std::vector<std::string> marker;
};

class ProcessGroup {
 public:
  /// Starts the leader in a process group of its own and, if there is one, in `control_group`. NOT_FOUND or
  /// PERMISSION_DENIED name the program when it cannot be executed.
  static absl::StatusOr<std::unique_ptr<ProcessGroup>> Start(const ProcessPlan& plan,
                                                             std::optional<ControlGroup> control_group);

  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;
  /// Kills the processes that are left.
  ~ProcessGroup();

  pid_t leader() const { return leader_; }
  bool has_control_group() const { return control_group_.has_value(); }

  /// Waits until the leader ends, Wake is called or the time is over. Returns true once the leader has ended.
  bool WaitForExit(std::chrono::milliseconds patience);

  /// The leader's wait status; valid after KillEverything.
  int wait_status() const { return wait_status_; }

  /// Makes the current or the next WaitForExit return early. May be called from any thread.
  void Wake();

  /// Sends a signal to the leader's process group.
  void Signal(int signal_number);

  /// Kills every process of the attempt, whatever group or session it moved to, and returns when none is left.
  absl::Status KillEverything();

 private:
  ProcessGroup(pid_t leader, std::optional<ControlGroup> control_group, std::vector<std::string> marker);

  std::vector<pid_t> Remaining() const;
  bool LeaderEnded() const;

  const pid_t leader_;
  const OwnedDescriptor exit_;
  const OwnedDescriptor wake_;
  const std::optional<ControlGroup> control_group_;
  const std::vector<std::string> marker_;
  bool reaped_ = false;
  int wait_status_ = 0;
};

}  // namespace regroup
