// A control group (cgroup version 2) that holds every process of one attempt; a process cannot escape from it.
//
// It is created below the worker's own group if permissions allow that; otherwise the attempt is held only by its
// process group and its environment marker. Owned by one ProcessGroup; not thread-safe.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace regroup {

class ControlGroup {
 public:
  /// Returns a new group, or nothing if this user may not create one on this machine.
  static std::optional<ControlGroup> Create(const std::string& name);

  /// Returns the groups that a killed worker left behind: those whose name starts with `prefix`.
  static std::vector<ControlGroup> Leftovers(const std::string& prefix);

  ControlGroup(ControlGroup&& other) noexcept;
  ControlGroup& operator=(ControlGroup&&) = delete;
  /// Removes the group, which succeeds only if it is empty.
  ~ControlGroup();

  /// The file into which a process writes "0" to join.
  std::filesystem::path join_file() const { return folder_ / "cgroup.procs"; }

  /// Kills every process in it, including children that are just being created.
  void Kill() const;

  /// Returns the processes that are in it now.
  std::vector<pid_t> Processes() const;

 private:
  explicit ControlGroup(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_;
};

}  // namespace regroup
