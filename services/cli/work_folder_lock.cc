#include "services/cli/work_folder_lock.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Returns the processes named in the file that still run: "regroup-coordinator (process 12), regroup-worker (process
/// 13)".
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
  absl::StatusOr<FileLock> file =
      FileLock::Take(path, {.patience = std::chrono::milliseconds(0), .is_inherited = true, .mode = 0644});
  if (absl::IsAlreadyExists(file.status())) {
    return absl::FailedPreconditionError(
        fmt::format("{} is in use by {}; wait for it, stop it, or use another folder with --work-dir", folder.string(),
                    Holders(path)));
  }
  if (!file.ok()) return file.status();
  WorkFolderLock lock(*std::move(file));
  if (ftruncate(lock.file_.fd(), 0) != 0) return ErrnoStatus(errno, "empty", path);
  REGROUP_RETURN_IF_ERROR(lock.Name("regroup", getpid()));
  return lock;
}

absl::Status WorkFolderLock::Name(const std::string& program, pid_t id) {
  const std::string line = fmt::format("{} {}\n", program, id);
  if (write(file_.fd(), line.data(), line.size()) == static_cast<ssize_t>(line.size())) return absl::OkStatus();
  return ErrnoStatus(errno, "write", "run.lock");
}

}  // namespace regroup
