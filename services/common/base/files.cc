#include "services/common/base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "services/common/base/file_descriptor.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return absl::StatusCode::kNotFound;
    case EEXIST:
    case ENOTEMPTY:
      return absl::StatusCode::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
      return absl::StatusCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ELOOP:
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status WriteAll(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write", path);
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

/// Writes a file under a temporary name and renames it. The mode is as given, less what the umask takes from others.
absl::Status WriteAtomically(const std::filesystem::path& path, std::string_view content, mode_t mode) {
  const std::filesystem::path temporary = fmt::format("{}.{}.tmp", path.string(), getpid());
  FileDescriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file.valid()) return ErrnoStatus(errno, "create", temporary);
  absl::Status status = WriteAll(file.get(), content, temporary);
  if (status.ok() && fsync(file.get()) != 0) status = ErrnoStatus(errno, "fsync", temporary);
  if (status.ok() && file.Close() != 0) status = ErrnoStatus(errno, "close", temporary);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) status = ErrnoStatus(errno, "rename to", path);
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncPath(path.parent_path());
}

}  // namespace

absl::Status ErrnoStatus(int error_number, std::string_view attempted, const std::filesystem::path& path) {
  return absl::Status(CodeOf(error_number),
                      fmt::format("cannot {} {}: {}", attempted, path.string(), std::strerror(error_number)));
}

absl::Status TooLarge(const std::filesystem::path& path, uint64_t bytes, uint64_t most) {
  return absl::InvalidArgumentError(
      fmt::format("{} has {} bytes or more; such a file may have at most {}", path.string(), bytes, most));
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, uint64_t most) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "open", path);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return ErrnoStatus(errno, "examine", path);
  // Files of /proc have no size, and pipes neither.
  if (S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) > most) {
    return TooLarge(path, static_cast<uint64_t>(info.st_size), most);
  }
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(file.get(), buffer, sizeof buffer);
    if (count == 0) return content;
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read", path);
    }
    content.append(buffer, static_cast<size_t>(count));
    if (content.size() > most) return TooLarge(path, content.size(), most);
  }
}

absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view content) {
  return WriteAtomically(path, content, 0644);
}

absl::Status WritePrivateFile(const std::filesystem::path& path, std::string_view content) {
  return WriteAtomically(path, content, kPrivateFile);
}

absl::Status MakePrivateFolder(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.parent_path();
  if (!parent.empty()) REGROUP_RETURN_IF_ERROR(MakeFolders(parent));
  if (mkdir(path.c_str(), kPrivateFolder) == 0) {
    return chmod(path.c_str(), kPrivateFolder) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "set the mode of", path);
  }
  // It exists, as a folder or a link to one, or cannot be made: MakeFolders tells.
  return MakeFolders(path);
}

void KeepOthersFromWriting() { umask(umask(0) | S_IWOTH); }

absl::Status MakePrivate(const std::filesystem::path& path) {
  if (chmod(path.c_str(), kPrivateFile) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == EPERM) {
    return absl::PermissionDeniedError(fmt::format(
        "{} belongs to another account; change its owner to the one that this program runs as (chown)", path.string()));
  }
  return ErrnoStatus(errno, "set the mode of", path);
}

absl::Status MakeFolders(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "make folder", path);
  return absl::OkStatus();
}

absl::Status RenameWithoutReplacing(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
    return ErrnoStatus(errno, fmt::format("rename {} to", from.string()), to);
  }
  REGROUP_RETURN_IF_ERROR(SyncPath(from.parent_path()));
  return SyncPath(to.parent_path());
}

absl::Status SyncPath(const std::filesystem::path& path) {
  const std::filesystem::path target = path.empty() ? std::filesystem::path(".") : path;
  const FileDescriptor file(open(target.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "open", target);
  if (fsync(file.get()) != 0) return ErrnoStatus(errno, "fsync", target);
  return absl::OkStatus();
}

}  // namespace regroup
