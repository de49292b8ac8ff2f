#include "services/common/base/random_bytes.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    const ssize_t got = getrandom(bytes.data() + filled, count - filled, 0);
    if (got > 0) {
      filled += static_cast<size_t>(got);
    } else if (errno != EINTR) {
      return absl::InternalError(absl::StrCat("cannot get random bytes from the system: ", std::strerror(errno)));
    }
  }
  return bytes;
}

absl::StatusOr<std::string> RandomHex(size_t count) {
  REGROUP_ASSIGN_OR_RETURN(const std::string bytes, RandomBytes(count));
  return absl::BytesToHexString(bytes);
}

}  // namespace regroup
