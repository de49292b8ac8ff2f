// Rotary position embedding (Su et al., 2021): each pair of a head's entries turns by position x frequency.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/model_config.h"

namespace regroup {

/// Cosines and sines of all positions, [positions, pairs], float32.
struct RotaryTable {
  at::Tensor cosine;
  at::Tensor sine;
};

/// Angles are computed in float64 and rounded once.
RotaryTable MakeRotaryTable(const RotaryConfig& config, int64_t positions, at::Device device);

/// Turns x [batch, heads, tokens, width]; `table` starts at the position of x's first token. Entries beyond
/// config.width stay as they are. Differentiable.
at::Tensor ApplyRotary(const at::Tensor& x, const RotaryConfig& config, const RotaryTable& table);

}  // namespace regroup
