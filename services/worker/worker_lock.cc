#include "services/worker/worker_lock.h"

#include <fmt/format.h>

namespace regroup {

absl::StatusOr<WorkerLock> WorkerLock::Acquire(const std::filesystem::path& file, std::chrono::milliseconds patience) {
  absl::StatusOr<FileLock> lock = FileLock::Take(file, {.patience = patience});
  if (lock.ok()) return WorkerLock(*std::move(lock));
  if (!absl::IsAlreadyExists(lock.status())) return lock.status();
  return absl::AlreadyExistsError(
      fmt::format("another worker with this id runs on this machine with the same --work-dir (it holds {}); give "
                  "this one another --id",
                  file.string()));
}

}  // namespace regroup
