// Measures how fast this machine reads memory. This bounds decoding, which reads all weights and the KV cache for each
// token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace regroup {

/// Returns the bytes per second of the fastest of `repeats` reads of `bytes` bytes (rounded up to 64 B) with all
/// threads, after one that is not counted. Allocates that much memory on the device during the call.
double MeasureReadBandwidth(int64_t bytes, int repeats, at::Device device);

}  // namespace regroup
