#include "services/cli/work_folder_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// "regroup-coordinator (process 12), regroup-worker (process 13)": those of the file's lines that still run.
std::string Holders(const std::filesystem::path& path) {
  const auto content = ReadFile(path);
  std::istringstream lines(content.ok() ? *content : "");
  std::string holders;
  std::string program;
  pid_t id = 0;
  while (lines >> program >> id) {
    if (kill(id, 0) != 0 && errno == ESRCH) continue;
    holders += fmt::format("{}{} (process {})", holders.empty() ? "" : ", ", program, id);
  }
  return holders.empty() ? "another program" : holders;
}

}  // namespace

absl::StatusOr<WorkFolderLock> WorkFolderLock::Take(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "run.lock";
  // Without O_CLOEXEC on purpose: see the class.
  WorkFolderLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_APPEND, 0644));
  if (lock.file_ < 0) return ErrnoStatus(errno, "open", path);
  if (flock(lock.file_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "lock", path);
    return absl::FailedPreconditionError(
        fmt::format("{} is in use by {}; wait for it, stop it, or give another folder with --work-dir", folder.string(),
                    Holders(path)));
  }
  if (ftruncate(lock.file_, 0) != 0) return ErrnoStatus(errno, "empty", path);
  REGROUP_RETURN_IF_ERROR(lock.Name("regroup", getpid()));
  return lock;
}

WorkFolderLock::WorkFolderLock(WorkFolderLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

WorkFolderLock::~WorkFolderLock() {
  if (file_ >= 0) close(file_);
}

absl::Status WorkFolderLock::Name(const std::string& program, pid_t id) {
  const std::string line = fmt::format("{} {}\n", program, id);
  if (write(file_, line.data(), line.size()) == static_cast<ssize_t>(line.size())) return absl::OkStatus();
  return ErrnoStatus(errno, "write", "run.lock");
}

}  // namespace regroup
