#include "services/worker/attempt/runtime_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "services/common/base/files.h"
#include "services/common/base/paths.h"

namespace regroup {
namespace {

/// Leaves room for the folder's own name, "/t12345/..." and "/worker.sock" in 108 bytes.
constexpr size_t kLongestBase = 55;
/// Names that are tried if other users made folders with the earlier ones.
constexpr int kMostNames = 1000;

const std::filesystem::path kSharedMemory = "/dev/shm";

std::string SharedMemoryPrefix(const std::string& key) { return fmt::format("regroup-{}-{}-", geteuid(), key); }

bool IsUsable(const std::string& base) {
  return !base.empty() && base.size() <= kLongestBase && access(base.c_str(), W_OK | X_OK) == 0;
}

bool IsPrivateAndOurs(const std::filesystem::path& folder) {
  struct stat status;
  return lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
         (status.st_mode & 0077) == 0;
}

/// Returns the names in the order in which they are tried.
std::filesystem::path NumberedFolder(const std::filesystem::path& first, int number) {
  return number == 0 ? first : std::filesystem::path(fmt::format("{}-{}", first.string(), number));
}

/// Makes the folder under the first name that is free.
absl::StatusOr<std::filesystem::path> MakeFirstFree(const std::filesystem::path& first) {
  for (int number = 0; number < kMostNames; ++number) {
    const std::filesystem::path folder = NumberedFolder(first, number);
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, "make folder", folder);
    // It may have been made by another worker of this user in between.
    if (IsPrivateAndOurs(folder)) return folder;
  }
  return absl::PermissionDeniedError(
      fmt::format("{} and {} more exist but are not private folders of this user; remove them, or set XDG_RUNTIME_DIR",
                  first.string(), kMostNames - 1));
}

}  // namespace

absl::StatusOr<std::filesystem::path> MakeRuntimeFolder(const std::string& key, const std::string& xdg_runtime_dir) {
  const std::filesystem::path base = IsUsable(xdg_runtime_dir) ? xdg_runtime_dir : "/tmp";
  const std::filesystem::path first = base / fmt::format("regroup-{}-{}", geteuid(), key);
  // A folder of this worker is found again although an earlier name has become free: it has the lock of a process that
  // may still run.
  for (int number = 0; number < kMostNames; ++number) {
    if (IsPrivateAndOurs(NumberedFolder(first, number))) return NumberedFolder(first, number);
  }
  return MakeFirstFree(first);
}

void EmptyRuntimeFolder(const std::filesystem::path& folder, const std::filesystem::path& keep) {
  std::error_code ignored;
  for (const std::filesystem::path& entry : EntriesOf(folder).value_or(std::vector<std::filesystem::path>())) {
    if (entry != keep) std::filesystem::remove_all(entry, ignored);
  }
}

void RemoveRuntimeFolder(const std::filesystem::path& folder, const std::filesystem::path& lock) {
  EmptyRuntimeFolder(folder, lock);
  unlink(lock.c_str());
  rmdir(folder.c_str());
}

std::filesystem::path MakeSharedMemoryFolder(const std::string& key, int number,
                                             const std::filesystem::path& otherwise) {
  const std::filesystem::path folder = kSharedMemory / fmt::format("{}{}", SharedMemoryPrefix(key), number);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return mkdir(folder.c_str(), 0700) == 0 ? folder : otherwise;
}

void RemoveSharedMemoryFolders(const std::string& key) {
  std::error_code ignored;
  for (const std::filesystem::path& entry : EntriesOf(kSharedMemory).value_or(std::vector<std::filesystem::path>())) {
    if (entry.filename().string().starts_with(SharedMemoryPrefix(key))) std::filesystem::remove_all(entry, ignored);
  }
}

}  // namespace regroup
