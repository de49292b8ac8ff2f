#include "services/worker/worker_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "services/base/files.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kRetryInterval{50};

}  // namespace

absl::StatusOr<WorkerLock> WorkerLock::Acquire(const std::filesystem::path& file, std::chrono::milliseconds patience) {
  WorkerLock lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.fd_ < 0) return ErrnoStatus(errno, "open", file);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (flock(lock.fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoStatus(errno, "lock", file);
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::AlreadyExistsError(
          fmt::format("another worker with this id runs on this machine with the same --work-dir (it holds {}); give "
                      "this one another --id",
                      file.string()));
    }
    std::this_thread::sleep_for(kRetryInterval);
  }
  return lock;
}

WorkerLock::~WorkerLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace regroup
