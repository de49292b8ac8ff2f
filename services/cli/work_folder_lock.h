// One embedded cluster at a time in a working folder. Not thread-safe.
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
/// a killed `regroup run` still keeps the folder, and its name stands in the file.
class WorkFolderLock {
 public:
  /// FAILED_PRECONDITION naming the processes that hold it.
  static absl::StatusOr<WorkFolderLock> Take(const std::filesystem::path& folder);

  /// Adds a process to those that are named if somebody else wants the folder.
  absl::Status Name(const std::string& program, pid_t id);

 private:
  explicit WorkFolderLock(FileLock file) : file_(std::move(file)) {}

  FileLock file_;
};

}  // namespace regroup
