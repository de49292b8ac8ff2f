// Random bytes of the kernel, good enough for secrets. Thread-safe.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace regroup {

/// Returns `count` random bytes. INTERNAL if the system has none, which a secret must not be made without.
absl::StatusOr<std::string> RandomBytes(size_t count);

/// Returns `count` random bytes as lower-case hexadecimal digits, two a byte.
absl::StatusOr<std::string> RandomHex(size_t count);

}  // namespace regroup
