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

/// Says what to start, and where its output goes.
struct ProcessPlan {
  /// The program's path first.
  std::vector<std::string> arguments;
  /// "NAME=value"; nothing else is inherited.
  std::vector<std::string> environment;
  std::filesystem::path working_folder;
  std::filesystem::path stdout_file;
  std::filesystem::path stderr_file;
  /// Sent to the leader when the worker dies: mpirun needs one that it can act on.
  int parent_death_signal = 9;
  /// Entries of `environment` that no other attempt has.
  std::vector<std::string> marker;
};

class ProcessGroup {
 public:
  /// Starts the leader in a process group of its own and, where there is one, in `control_group`.
  /// NOT_FOUND or PERMISSION_DENIED name the program when it cannot be executed.
  static absl::StatusOr<std::unique_ptr<ProcessGroup>> Start(const ProcessPlan& plan,
                                                             std::optional<ControlGroup> control_group);

  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;
  /// Kills what is left.
  ~ProcessGroup();

  pid_t leader() const { return leader_; }
  bool has_control_group() const { return control_group_.has_value(); }

  /// Waits until the leader ends, Wake is called or the time is over. True once the leader has ended.
  bool WaitForExit(std::chrono::milliseconds patience);

  /// The leader's wait status; valid after KillEverything.
  int wait_status() const { return wait_status_; }

  /// Makes a present or the next WaitForExit return early. Any thread.
  void Wake();

  /// Sends a signal to the leader's process group.
  void Signal(int signal_number);

  /// Kills every process of the attempt, in whatever group or session it hides, and returns when none is left.
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
