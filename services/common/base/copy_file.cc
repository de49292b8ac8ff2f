#include "services/common/base/copy_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <cerrno>

#include "services/common/base/files.h"

namespace regroup {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 26;

/// Returns 0, or the error number of the first failure.
int CopyContent(int from, int to) {
  while (true) {
    const ssize_t copied = sendfile(to, from, nullptr, kPieceBytes);
    if (copied == 0) return fsync(to) == 0 ? 0 : errno;
    if (copied < 0 && errno != EINTR) return errno;
  }
}

}  // namespace

absl::Status CopyFile(const std::filesystem::path& from, const std::filesystem::path& to) {
  const int source = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (source < 0) return ErrnoStatus(errno, "open", from);
  const int target = open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  int error = target < 0 ? errno : CopyContent(source, target);
  close(source);
  // Some file systems report a failed write only when the file is closed.
  if (target >= 0 && close(target) != 0 && error == 0) error = errno;
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, fmt::format("copy {} to", from.string()), to);
}

}  // namespace regroup
