#include "services/common/remote/blob_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "services/common/base/copy_file.h"
#include "services/common/base/file_lock.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr char kPart[] = ".part";
constexpr char kLock[] = ".lock";
constexpr char kWithoutVersion[] = "once-";

/// Takes the lock of a file, and calls `count` while it waits, so that the task does not look hung.
absl::StatusOr<FileLock> TakeLock(const fs::path& path, const CountBytes& count) {
  while (true) {
    absl::StatusOr<FileLock> lock = FileLock::Take(path, {.patience = std::chrono::seconds(1)});
    if (!absl::IsAlreadyExists(lock.status())) return lock;
    count(0);
  }
}

absl::Status LinkOrCopy(const fs::path& blob, const fs::path& target) {
  std::error_code error;
  fs::create_hard_link(blob, target, error);
  return error ? CopyFile(blob, target) : absl::OkStatus();
}

void NoteUse(const fs::path& blob) { utimensat(AT_FDCWD, blob.c_str(), nullptr, 0); }

struct Entry {
  fs::path path;
  uint64_t bytes;
  fs::file_time_type used;
};

std::vector<Entry> EntriesByUse(const fs::path& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    if (entry->path().extension() == kLock || !entry->is_regular_file(gone)) continue;
    const uint64_t bytes = entry->file_size(gone);
    const fs::file_time_type used = entry->last_write_time(gone);
    if (!gone) entries.push_back({entry->path(), bytes, used});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& one, const Entry& other) { return one.used < other.used; });
  return entries;
}

fs::path LockOf(const fs::path& entry) {
  const fs::path blob = entry.extension() == kPart ? fs::path(entry).replace_extension() : entry;
  return blob.string() + kLock;
}

}  // namespace

fs::path BlobCache::BlobOf(const Address& address, const RemoteFile& file) const {
  if (!file.sha256.empty()) return folder_ / ("sha256-" + file.sha256);
  if (!file.git_sha1.empty()) return folder_ / ("git-" + file.git_sha1);
  const bool has_version = !file.entity_tag.empty();
  const std::string& version = has_version ? file.entity_tag : scope_;
  return folder_ / ((has_version ? "version-" : kWithoutVersion) +
                    Sha256Of(fmt::format("{}\n{}\n{}\n{}", address.place, file.locator, version, file.bytes)));
}

absl::Status BlobCache::Provide(const Address& address, const RemoteFile& file, const RemoteSettings& settings,
                                HttpClient& client, const CountBytes& count, const fs::path& target) const {
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder_));
  REGROUP_RETURN_IF_ERROR(MakeFolders(target.parent_path()));
  const fs::path blob = BlobOf(address, file);
  REGROUP_ASSIGN_OR_RETURN(const FileLock lock, TakeLock(blob.string() + kLock, count));
  std::error_code error;
  if (const uint64_t bytes = fs::file_size(blob, error); !error && bytes == file.bytes) {
    NoteUse(blob);
    count(static_cast<int64_t>(bytes));
    return LinkOrCopy(blob, target);
  }
  const fs::path part = blob.string() + kPart;
  // A file without a version may have changed since another attempt read a part of it.
  if (blob.filename().string().starts_with(kWithoutVersion)) fs::remove(part, error);
  REGROUP_RETURN_IF_ERROR(Download(address, file, settings, client, part, count));
  if (chmod(part.c_str(), 0444) != 0) return ErrnoStatus(errno, "protect", part);
  if (rename(part.c_str(), blob.c_str()) != 0) return ErrnoStatus(errno, "rename", part);
  REGROUP_RETURN_IF_ERROR(SyncPath(folder_));
  return LinkOrCopy(blob, target);
}

void BlobCache::Evict(const CacheLimits& limits) const {
  std::vector<Entry> entries = EntriesByUse(folder_);
  uint64_t total = 0;
  for (const Entry& entry : entries) total += entry.bytes;
  const fs::file_time_type oldest = fs::file_time_type::clock::now() - limits.age;
  for (const Entry& entry : entries) {
    if (total <= limits.bytes && entry.used >= oldest) return;
    // A file that a job reads right now is locked.
    const absl::StatusOr<FileLock> lock =
        FileLock::Take(LockOf(entry.path), {.patience = std::chrono::milliseconds(0)});
    if (!lock.ok()) continue;
    std::error_code error;
    if (!fs::remove(entry.path, error)) continue;
    total -= entry.bytes;
    fs::remove(LockOf(entry.path), error);
    LogInfo("a file left the cache of addresses", {{"file", entry.path.filename().string()}, {"bytes", entry.bytes}});
  }
}

}  // namespace regroup
