// Number of tokens whose logits exist together in training.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace regroup {

/// Returns few on a CPU, whose caches hold what is computed of them, and more on a GPU, which is busy only with many.
inline int64_t LossChunkTokens(at::Device device) { return device.is_cuda() ? 1024 : 256; }

}  // namespace regroup
