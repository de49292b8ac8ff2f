// Operators of a block for which PyTorch needs several, each with its own gradient.
//
// On the CPU, in float32 and bfloat16, each is one pass over its input; elsewhere few of PyTorch's operators. The order
// of additions does not depend on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/rotary.h"

namespace regroup {

/// Returns x / sqrt(mean(x^2) + epsilon) * weight over the last axis (Zhang & Sennrich, 2019), computed in float32; in
/// lower precision the quotient is rounded before it is multiplied, as Transformers does on CPUs. `weight` has the type
/// of x. Differentiable in both.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// Returns x [B, heads, T, d] with its pairs rotated by the angles of `rows`, whose tables [T, pairs] have x's type.
/// Pairs are entries i and i + pairs, or 2 i and 2 i + 1 if they are interleaved; entries behind them are unchanged.
/// Differentiable in x.
at::Tensor RotatePairs(const at::Tensor& x, const RotaryTable& rows);

}  // namespace regroup
