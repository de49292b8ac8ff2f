// Allows one embedded cluster at a time in a working folder. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/base/file_lock.h"

namespace regroup {

/// Holds <folder>/run.lock until destruction. Programs started meanwhile inherit the lock: a coordinator that outlives
/// a killed `regroup run` still holds the folder, and the file names it.
class WorkFolderLock {
 public:
  /// Takes the lock. FAILED_PRECONDITION names the processes that hold it.
  static absl::StatusOr<WorkFolderLock> Take(const std::filesystem::path& folder);

  /// Adds a process to those named when another program asks for the folder.
  absl::Status Name(const std::string& program, pid_t id);

 private:
  explicit WorkFolderLock(FileLock file) : file_(std::move(file)) {}

  FileLock file_;
};

}  // namespace regroup
