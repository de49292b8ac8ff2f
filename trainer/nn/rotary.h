// Implements rotary position embedding (Su et al., 2021): each pair of a head's entries is rotated by position x
// frequency.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/model_config.h"

namespace regroup {

/// Cosines and sines of all positions, [positions, pairs]; undefined without rotation.
struct RotaryTable {
  at::Tensor cosine;
  at::Tensor sine;
  /// See RotaryConfig.
  bool interleaved = false;
};

/// Returns the table of a sequence of `positions` tokens, whose length decides the frequencies (longrope); nothing
/// without rotation. Computes the angles in float64.
RotaryTable MakeRotaryTable(const RotaryConfig& config, int64_t positions, at::Device device,
                            at::ScalarType dtype = at::kFloat);

/// Rotates x [batch, heads, tokens, width]; `table` starts at the position of x's first token. Entries beyond the pairs
/// of the table are unchanged. Differentiable.
at::Tensor ApplyRotary(const at::Tensor& x, const RotaryTable& table);

}  // namespace regroup
