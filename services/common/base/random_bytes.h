// Random bytes from the kernel, suitable for secrets. Thread-safe.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace regroup {

/// Returns `count` random bytes. INTERNAL if the system provides none; a secret must not be made without them.
absl::StatusOr<std::string> RandomBytes(size_t count);

/// Returns `count` random bytes as lower-case hexadecimal digits, two a byte.
absl::StatusOr<std::string> RandomHex(size_t count);

}  // namespace regroup
