#include "services/common/base/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "services/common/base/files.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kRetryInterval{50};

/// Returns false if the previous holder removed the file when it ended: this process then locked a file that no other
/// can open.
bool IsStillNamed(int fd, const std::filesystem::path& file) {
  struct stat held;
  struct stat named;
  return fstat(fd, &held) == 0 && stat(file.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

}  // namespace

absl::StatusOr<FileLock> FileLock::Take(const std::filesystem::path& file, const FileLockOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const int flags = O_RDWR | O_CREAT | O_APPEND | (options.is_inherited ? 0 : O_CLOEXEC);
  while (true) {
    FileLock lock(open(file.c_str(), flags, options.mode));
    if (lock.fd_ < 0) return ErrnoStatus(errno, "open", file);
    if (flock(lock.fd_, options.patience ? LOCK_EX | LOCK_NB : LOCK_EX) == 0) {
      if (IsStillNamed(lock.fd_, file)) return lock;
    } else if (errno == EINTR) {
      continue;
    } else if (errno != EWOULDBLOCK) {
      return ErrnoStatus(errno, "lock", file);
    }
    if (options.patience && std::chrono::steady_clock::now() - start >= *options.patience) {
      return absl::AlreadyExistsError(fmt::format("another process holds {}", file.string()));
    }
    std::this_thread::sleep_for(kRetryInterval);
  }
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace regroup
