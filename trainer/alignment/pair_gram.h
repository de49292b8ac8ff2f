// Computes with rotary pairs as complex numbers, by real matrix products. Pure; may be called from any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/alignment/attention.h"

namespace regroup {

/// Turns [heads, head_width, n] into [pairs, 2 * heads, n]: for each pair the first coordinates of all heads, then the
/// second ones.
at::Tensor StackPairs(const at::Tensor& heads, const AttentionShape& shape);

/// Turns [tokens, heads, head_width] into [pairs, tokens, 2 * heads]: the same for the rows of tokens, transposed, in
/// one copy.
at::Tensor PairsOfTokens(const at::Tensor& heads, const AttentionShape& shape);

/// Turns products of stacked pairs B = Z Z^T or Z C Z^T [pairs, 2H, 2H] into the Gram of complex numbers,
/// sum conj(z_a) z_b, as real and imaginary part [pairs, H, H, 2].
at::Tensor ComplexGramParts(const at::Tensor& product);

}  // namespace regroup
