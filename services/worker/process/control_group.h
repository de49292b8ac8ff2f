// A control group (cgroup version 2) that holds every process of one attempt, whatever it does to escape.
//
// Made below the worker's own group where the file system allows it; where it does not, the attempt is held by its
// process group and its environment marker alone. Owned by one ProcessGroup; not thread-safe.
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
  /// A new group, or nothing where this machine gives none to us.
  static std::optional<ControlGroup> Create(const std::string& name);

  /// Groups that a worker which was killed left behind: those whose name starts with `prefix`.
  static std::vector<ControlGroup> Leftovers(const std::string& prefix);

  ControlGroup(ControlGroup&& other) noexcept;
  ControlGroup& operator=(ControlGroup&&) = delete;
  /// Removes the group, which works once it is empty.
  ~ControlGroup();

  /// The file into which a process writes "0" to join.
  std::filesystem::path join_file() const { return folder_ / "cgroup.procs"; }

  /// Kills every process in it, children that are being made included.
  void Kill() const;

  /// Processes in it now.
  std::vector<pid_t> Processes() const;

 private:
  explicit ControlGroup(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_;
};

}  // namespace regroup
