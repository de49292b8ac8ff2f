// Rotary pairs seen as complex numbers, with real matrix products.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/alignment/attention.h"

namespace regroup {

/// [heads, head_width, n] -> [pairs, 2 * heads, n]: for each pair the first coordinates of all heads, then the second.
at::Tensor StackPairs(const at::Tensor& heads, const AttentionShape& shape);

/// [tokens, heads, head_width] -> [pairs, tokens, 2 * heads]: the same of rows, transposed, in one copy.
at::Tensor PairsOfTokens(const at::Tensor& heads, const AttentionShape& shape);

/// From products of stacked pairs B = Z Z^T or Z C Z^T [pairs, 2H, 2H] to the Gram of complex numbers,
/// sum conj(z_a) z_b, as real and imaginary part [pairs, H, H, 2].
at::Tensor ComplexGramParts(const at::Tensor& product);

}  // namespace regroup
