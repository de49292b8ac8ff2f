// Size of what is sent at once when a model's gradients or parameters are exchanged.
#pragma once

#include <cstdint>

namespace regroup {

/// Large enough for the bandwidth, small enough to be sent while the rest is computed.
inline constexpr int64_t kBucketBytes = int64_t{25} << 20;

}  // namespace regroup
