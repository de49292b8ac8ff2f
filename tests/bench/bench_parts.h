// Functions that several benchmarks share.
#pragma once

#include <cstdint>

#include "trainer/nn/model.h"

namespace regroup {

/// Returns a LLaMA of width 1024 with 16 heads of 64 and random float32 weights, from ATen's default generator.
Model RandomLlama(int64_t layers, int64_t kv_heads);

/// Returns the CPU seconds that this program has used, which other programs on the machine hardly change.
double ProcessorSeconds();

}  // namespace regroup
