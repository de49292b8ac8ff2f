#include "services/common/base/file_digest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "services/common/base/file_descriptor.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Digests what `read(buffer, count)` returns until it returns 0 bytes.
template <typename Read>
absl::StatusOr<std::string> DigestOfAll(Read read) {
  Sha256 digest;
  std::vector<char> buffer(1 << 20);
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const size_t count, read(buffer.data(), buffer.size()));
    if (count == 0) return digest.Finish();
    digest.Update({buffer.data(), count});
  }
}

}  // namespace

absl::StatusOr<std::string> FileDigest(const std::filesystem::path& path, const std::function<void()>& tick) {
  REGROUP_ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  return DigestOfAll([&](char* buffer, size_t count) {
    tick();
    return file.Read(buffer, count);
  });
}

absl::StatusOr<std::string> OwnFileDigest(const std::filesystem::path& path, const std::function<void()>& tick) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.valid()) return ErrnoStatus(errno, "open", path);
  return DigestOfAll([&](char* buffer, size_t count) -> absl::StatusOr<size_t> {
    tick();
    ssize_t got = -1;
    do {
      got = read(file.get(), buffer, count);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return ErrnoStatus(errno, "read", path);
    return static_cast<size_t>(got);
  });
}

}  // namespace regroup
