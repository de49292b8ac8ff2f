#include "services/worker/worker_lock.h"

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

/// A predecessor removes the file when it ends; whoever waited for it then holds a lock that nobody else can find.
bool IsStillNamed(int fd, const std::filesystem::path& file) {
  struct stat held;
  struct stat named;
  return fstat(fd, &held) == 0 && stat(file.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

}  // namespace

absl::StatusOr<WorkerLock> WorkerLock::Acquire(const std::filesystem::path& file, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (true) {
    WorkerLock lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (lock.fd_ < 0) return ErrnoStatus(errno, "open", file);
    if (flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) {
      if (IsStillNamed(lock.fd_, file)) return lock;
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoStatus(errno, "lock", file);
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::AlreadyExistsError(
          fmt::format("another worker with this id runs on this machine with the same --work-dir (it holds {}); give "
                      "this one another --id",
                      file.string()));
    }
    std::this_thread::sleep_for(kRetryInterval);
  }
}

WorkerLock::~WorkerLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace regroup
