#include "services/worker/attempt/runtime_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "services/common/base/files.h"

namespace regroup {
namespace {

/// Leaves room for "/t12345/..." and "/worker.sock" in 108 bytes.
constexpr size_t kLongestBase = 60;

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

}  // namespace

absl::StatusOr<std::filesystem::path> MakeRuntimeFolder(const std::string& key, const std::string& xdg_runtime_dir) {
  const std::filesystem::path base = IsUsable(xdg_runtime_dir) ? xdg_runtime_dir : "/tmp";
  const std::filesystem::path folder = base / fmt::format("regroup-{}-{}", geteuid(), key);
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, "make folder", folder);
  if (IsPrivateAndOurs(folder)) return folder;
  return absl::PermissionDeniedError(
      fmt::format("{} exists but is not a private folder of this user; remove it", folder.string()));
}

void EmptyRuntimeFolder(const std::filesystem::path& folder, const std::filesystem::path& keep) {
  std::vector<std::filesystem::path> entries;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) entries.push_back(entry.path());
  for (const std::filesystem::path& entry : entries) {
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
  std::vector<std::filesystem::path> folders;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(kSharedMemory, ignored)) {
    if (entry.path().filename().string().starts_with(SharedMemoryPrefix(key))) folders.push_back(entry.path());
  }
  for (const std::filesystem::path& folder : folders) std::filesystem::remove_all(folder, ignored);
}

}  // namespace regroup
