// A file that one process holds at a time. The kernel releases the lock when the holder ends, however it ends.
//
// Not thread-safe; processes and objects of one process exclude each other alike.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"

namespace regroup {

struct FileLockOptions {
  /// Time to wait for another holder; without a value, there is no limit.
  std::optional<std::chrono::milliseconds> patience;
  /// True if programs started while it is held inherit the lock: it is then released when the last of them ends.
  bool is_inherited = false;
  /// Permissions of a new file.
  mode_t mode = 0600;
};

class FileLock {
 public:
  /// Makes the file if it does not exist and locks it. ALREADY_EXISTS if another holder outlasts the patience;
  /// NOT_FOUND if the file's folder does not exist. The holder may remove the file.
  static absl::StatusOr<FileLock> Take(const std::filesystem::path& file, const FileLockOptions& options = {});

  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileLock();

  /// Returns the descriptor of the file, open for reading and appending.
  int fd() const { return fd_; }

 private:
  explicit FileLock(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace regroup
