// Owner of a file descriptor. Not thread-safe.
#pragma once

#include <unistd.h>

#include <utility>

namespace regroup {

/// Closes the descriptor on destruction; Close() also reports late write errors.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  /// Returns what close() returned.
  int Close() { return close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

}  // namespace regroup
