// Implements attention head by head and token by token in float64, as the reference that the alignment must not change.
// It shares no code with the alignment.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/alignment/attention.h"

namespace regroup {

/// Returns the output of an attention layer for one sequence: input [tokens, hidden] -> [tokens, any]. Keys and values
/// come from `input`, queries from `query_input`, both behind the layer's norms. Causal unless the inputs differ.
/// Rotary angles are position * 0.7^pair.
at::Tensor ReferenceAttention(const AttentionWeights& weights, const AttentionShape& shape, const at::Tensor& input,
                              const at::Tensor& query_input);

/// Returns the heads of x W^T + b: [heads][tokens, width].
std::vector<at::Tensor> ProjectHeads(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                                     int64_t heads);

/// Returns the rotary pairs of a head [tokens, width] as complex numbers [tokens, pairs], by the definition of the
/// layout.
at::Tensor ComplexPairs(const at::Tensor& head, const AttentionShape& shape);

}  // namespace regroup
