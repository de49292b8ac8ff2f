// Starts a program as a child process: the only place where Regroup's programs fork.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

/// The program to start, and what it inherits from this process. All signals have their default action in the child.
struct SpawnPlan {
  /// The program's path, then its arguments.
  std::vector<std::string> arguments;
  /// "NAME=value"; where unset, this process's own environment.
  std::optional<std::vector<std::string>> environment;
  /// Empty: this process's working folder.
  std::filesystem::path working_folder;
  /// Descriptors for standard output and error, which the caller closes. Standard input is empty.
  int output = -1;
  int error = -1;
  /// True: the child also has the descriptors that were opened without O_CLOEXEC, such as that of an inherited
  /// FileLock.
  bool inherits_descriptors = false;
  bool leads_process_group = false;
  /// The signal that the child gets when the thread that started it ends; 0 for none.
  int parent_death_signal = 0;
  /// Limit of the memory that the child can allocate, in bytes; 0 for none. Where the machine or a control group runs
  /// out of memory, the kernel then kills this child before its parent.
  size_t memory_limit = 0;
  /// A file in which a process that writes "0" joins a control group; empty for none. A failure to join is ignored.
  std::filesystem::path join_file;
};

/// Returns the child once it runs its program; the caller reaps it. NOT_FOUND or PERMISSION_DENIED name a program that
/// cannot be executed. May be called from any thread.
absl::StatusOr<pid_t> Spawn(const SpawnPlan& plan);

/// A descriptor that is closed on destruction.
class OwnedDescriptor {
 public:
  explicit OwnedDescriptor(int number = -1) : number_(number) {}
  OwnedDescriptor(OwnedDescriptor&& other) noexcept;
  OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept;
  ~OwnedDescriptor() { Close(); }

  int number() const { return number_; }
  void Close();

 private:
  int number_;
};

/// Opens a file to append a child's output to; creates it if it is missing.
absl::StatusOr<OwnedDescriptor> OpenForAppending(const std::filesystem::path& file);

/// Returns a descriptor that becomes readable when the process ends; negative if the process is gone or the kernel
/// (Linux before 5.3) does not support this.
OwnedDescriptor ExitDescriptor(pid_t process);

/// Waits until all of these processes, which need not be children, have ended, for `patience` at most.
void WaitForExits(const std::vector<pid_t>& processes, std::chrono::milliseconds patience);

}  // namespace regroup
