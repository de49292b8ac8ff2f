#include "services/common/base/file_digest.h"

#include <vector>

#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<std::string> FileDigest(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  Sha256 digest;
  std::vector<char> buffer(1 << 20);
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const size_t count, file.Read(buffer.data(), buffer.size()));
    if (count == 0) return digest.Finish();
    digest.Update({buffer.data(), count});
  }
}

}  // namespace regroup
