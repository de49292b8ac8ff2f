// Makes sure that on this machine at most one worker with a given id uses a working folder. The kernel releases the
// lock when the process ends, however it ends. Not thread-safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/status/statusor.h"
#include "services/common/base/file_lock.h"

namespace regroup {

class WorkerLock {
 public:
  /// Waits up to `patience` for a predecessor to end. ALREADY_EXISTS if it does not; NOT_FOUND if the file's folder
  /// does not exist. The holder may remove the file.
  static absl::StatusOr<WorkerLock> Acquire(const std::filesystem::path& file, std::chrono::milliseconds patience);

 private:
  explicit WorkerLock(FileLock lock) : lock_(std::move(lock)) {}

  FileLock lock_;
};

}  // namespace regroup
