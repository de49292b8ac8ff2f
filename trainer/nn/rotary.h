// Implements rotary position embedding (Su et al., 2021): each pair of a head's entries is rotated by position x
// frequency.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/model_config.h"

namespace regroup {

/// Cosines and sines of all positions, [positions, pairs].
struct RotaryTable {
  at::Tensor cosine;
  at::Tensor sine;
};

/// Returns the table of a sequence of `positions` tokens, whose length decides the frequencies (longrope). Computes the
/// angles in float64.
RotaryTable MakeRotaryTable(const RotaryConfig& config, int64_t positions, at::Device device,
                            at::ScalarType dtype = at::kFloat);

/// Rotates x [batch, heads, tokens, width]; `table` starts at the position of x's first token. Entries beyond
/// config.width are unchanged. Differentiable.
at::Tensor ApplyRotary(const at::Tensor& x, const RotaryConfig& config, const RotaryTable& table);

}  // namespace regroup
