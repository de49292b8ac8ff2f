// How much longer a step of a tokenizer may make a text. A few lines of tokenizer.json, each of which doubles it, would
// take all memory otherwise. Pure function, for any thread.
#pragma once

#include <cstddef>

#include "absl/status/status.h"

namespace regroup {

/// INVALID_ARGUMENT for more than 32 times the bytes, which no normal form and no alphabet of bytes needs, and a
/// kilobyte for prefixes.
absl::Status CheckTextGrowth(size_t bytes_before, size_t bytes_after);

}  // namespace regroup
