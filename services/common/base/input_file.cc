#include "services/common/base/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Roots = std::vector<fs::path>;

constexpr size_t kPieceBytes = size_t{1} << 16;

InputRules& Rules() {
  static InputRules rules;
  return rules;
}

fs::path Resolved(const fs::path& path) {
  std::error_code error;
  fs::path resolved = fs::weakly_canonical(path, error);
  return error ? path : resolved;
}

bool LiesBeneathOneOf(const Roots& roots, const fs::path& path) {
  return std::any_of(roots.begin(), roots.end(), [&](const fs::path& root) { return LiesBeneath(root, path); });
}

fs::path LinkOf(const FileDescriptor& handle) { return fmt::format("/proc/self/fd/{}", handle.get()); }

absl::StatusOr<FileDescriptor> TakeHandle(const fs::path& path) {
  FileDescriptor handle(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (handle.valid()) return handle;
  const int error_number = errno;
  std::error_code error;
  const fs::path target = fs::read_symlink(path, error);
  if (error || error_number != ENOENT) return ErrnoStatus(error_number, "open", path);
  return absl::NotFoundError(fmt::format(
      "{} is a link to {}, which does not exist; an interrupted download leaves such links: download the folder again",
      path.string(), target.string()));
}

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

/// Returns the place where the handle's file lies, without links.
absl::StatusOr<fs::path> PlaceOf(const FileDescriptor& handle, const fs::path& path) {
  std::error_code error;
  fs::path place = fs::read_symlink(LinkOf(handle), error);
  if (error) return ErrnoStatus(error.value(), "find the place of", path);
  return place;
}

bool IsOwn(const fs::path& path) {
  const fs::path& own = Rules().own_folder;
  return !own.empty() && LiesBeneath(Absolute(own).lexically_normal(), Absolute(path).lexically_normal());
}

std::string ListOf(const Roots& roots) {
  std::string list;
  for (const fs::path& root : roots) list += (list.empty() ? "" : ", ") + root.string();
  return list.empty() ? "none" : list;
}

absl::Status CheckRoots(const fs::path& path, const fs::path& place) {
  const std::optional<Roots>& roots = Rules().roots;
  if (!roots || IsOwn(path) || LiesBeneathOneOf(*roots, place)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("{} is not, or does not resolve to, a file in a folder that this cluster allows; allowed: {}",
                  path.string(), ListOf(*roots)));
}

/// Returns the folder in which a Hugging Face cache keeps the files of the snapshot; empty for any other folder.
fs::path BlobsOf(const fs::path& folder) {
  const fs::path snapshots = folder.parent_path();
  return snapshots.filename() == "snapshots" ? snapshots.parent_path() / "blobs" : fs::path();
}

absl::Status CheckStaysWithin(const fs::path& folder, const fs::path& path, const fs::path& place) {
  REGROUP_ASSIGN_OR_RETURN(const FileDescriptor handle, TakeHandle(folder.empty() ? "." : folder));
  REGROUP_ASSIGN_OR_RETURN(const fs::path within, PlaceOf(handle, folder));
  const fs::path blobs = BlobsOf(within);
  const bool stays = LiesBeneath(within, place) || (!blobs.empty() && LiesBeneath(blobs, place)) ||
                     (Rules().roots && LiesBeneathOneOf(*Rules().roots, place));
  if (stays) return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format(
      "{} is a link that leaves its folder, so it cannot be copied beside the result; replace it by a copy of the file",
      path.string()));
}

}  // namespace

void SetInputRules(InputRules rules) {
  if (rules.roots) std::transform(rules.roots->begin(), rules.roots->end(), rules.roots->begin(), Resolved);
  Rules() = std::move(rules);
}

std::optional<Roots> CommonRoots(const Roots& one, const Roots& other) {
  if (one.empty() && other.empty()) return std::nullopt;
  if (one.empty() || other.empty()) return one.empty() ? other : one;
  Roots common;
  for (const fs::path& a : one) {
    for (const fs::path& b : other) {
      const fs::path left = Resolved(a), right = Resolved(b);
      if (LiesBeneath(left, right)) {
        common.push_back(right);
      } else if (LiesBeneath(right, left)) {
        common.push_back(left);
      }
    }
  }
  return common;
}

bool LiesBeneath(const fs::path& folder, const fs::path& path) {
  const auto [at_folder, at_path] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  // "/data/" ends with an empty name.
  return at_folder == folder.end() || (at_folder->empty() && std::next(at_folder) == folder.end());
}

absl::StatusOr<InputFile> InputFile::Open(const fs::path& path) { return Open(path, nullptr); }

absl::StatusOr<InputFile> InputFile::OpenWithin(const fs::path& folder, const fs::path& name) {
  return Open(folder / name, &folder);
}

absl::StatusOr<InputFile> InputFile::Open(const fs::path& path, const fs::path* within) {
  REGROUP_ASSIGN_OR_RETURN(const FileDescriptor handle, TakeHandle(path));
  struct stat info;
  if (fstat(handle.get(), &info) != 0) return ErrnoStatus(errno, "examine", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("{} is {}, not a regular file", path.string(), KindOf(info.st_mode)));
  }
  REGROUP_ASSIGN_OR_RETURN(const fs::path place, PlaceOf(handle, path));
  REGROUP_RETURN_IF_ERROR(CheckRoots(path, place));
  if (within != nullptr) REGROUP_RETURN_IF_ERROR(CheckStaysWithin(*within, path, place));
  FileDescriptor file(open(LinkOf(handle).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "open", path);
  return InputFile(path, std::move(file), static_cast<uint64_t>(info.st_size));
}

absl::StatusOr<size_t> InputFile::Read(char* buffer, size_t count) {
  ssize_t got = -1;
  do {
    got = read(file_.get(), buffer, count);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return ErrnoStatus(errno, "read", path_);
  if (got == 0 && count > 0 && bytes_read_ < bytes_) {
    return absl::DataLossError(fmt::format("{} became shorter while it was read: it had {} bytes and ended after {}",
                                           path_.string(), bytes_, bytes_read_));
  }
  bytes_read_ += static_cast<uint64_t>(got);
  return static_cast<size_t>(got);
}

absl::StatusOr<std::string> InputFile::ReadAll(uint64_t most) {
  std::string content;
  if (bytes_ > most) return TooLarge(path_, bytes_, most);
  // More room than the file should need shows whether it grew; files of /proc tell no size at all.
  content.resize(bytes_ + kPieceBytes);
  uint64_t filled = 0;
  while (true) {
    if (filled == content.size()) content.resize(filled + kPieceBytes);
    REGROUP_ASSIGN_OR_RETURN(const size_t got, Read(content.data() + filled, content.size() - filled));
    filled += got;
    if (filled > most) return TooLarge(path_, filled, most);
    if (got == 0) break;
  }
  content.resize(filled);
  return content;
}

absl::Status CheckInputFolder(const fs::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const FileDescriptor handle, TakeHandle(path));
  struct stat info;
  if (fstat(handle.get(), &info) != 0) return ErrnoStatus(errno, "examine", path);
  if (!S_ISDIR(info.st_mode)) return absl::InvalidArgumentError(fmt::format("{} is not a folder", path.string()));
  REGROUP_ASSIGN_OR_RETURN(const fs::path place, PlaceOf(handle, path));
  return CheckRoots(path, place);
}

absl::StatusOr<std::string> ReadInput(const fs::path& path, uint64_t most) {
  REGROUP_ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  return file.ReadAll(most);
}

}  // namespace regroup
