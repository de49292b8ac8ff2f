#include "services/common/base/file_digest.h"

#include <cerrno>
#include <fstream>
#include <vector>

#include "services/common/base/files.h"
#include "services/common/base/sha256.h"

namespace regroup {

absl::StatusOr<std::string> FileDigest(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return ErrnoStatus(errno != 0 ? errno : EIO, "open", path);
  Sha256 digest;
  std::vector<char> buffer(1 << 20);
  while (stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || stream.gcount() > 0) {
    digest.Update({buffer.data(), static_cast<size_t>(stream.gcount())});
  }
  if (stream.bad()) return ErrnoStatus(EIO, "read", path);
  return digest.Finish();
}

}  // namespace regroup
