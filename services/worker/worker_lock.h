// Makes sure that one worker of an id runs on a working folder of this machine at a time. The kernel releases the lock
// when the process ends, however it ends. Not thread-safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/status/statusor.h"

namespace regroup {

class WorkerLock {
 public:
  /// Waits up to `patience` for a predecessor to end. ALREADY_EXISTS if it does not; NOT_FOUND if the file's folder
  /// does not exist. The holder may remove the file.
  static absl::StatusOr<WorkerLock> Acquire(const std::filesystem::path& file, std::chrono::milliseconds patience);

  WorkerLock(WorkerLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  WorkerLock& operator=(WorkerLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~WorkerLock();

 private:
  explicit WorkerLock(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace regroup
