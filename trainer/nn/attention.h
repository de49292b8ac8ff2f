// Computes softmax(scale q k^T + bias) v over heads that are already normalised and rotated.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace regroup {

/// The heads as they enter the softmax. Query head j reads KV head j / (H / G).
struct AttentionHeads {
  at::Tensor query;       // [B, H, T, d]
  at::Tensor key, value;  // [B, G, tokens read, d]
  /// Added to the logits, see PositionTables::bias; undefined if plain causal attention, or none, is sufficient.
  at::Tensor bias;
  bool causal = true;
  /// Factor on the products of queries and keys.
  double scale = 1.0;
  /// See ModelConfig::attention_soft_cap.
  double soft_cap = 0;
};

/// Returns c tanh(z / c) of logits z, with c = `soft_cap`; z itself if that is 0.
at::Tensor SoftCapped(const at::Tensor& logits, double soft_cap);

/// Returns the attention of the heads, [B, H, T, d]. Differentiable. With a soft cap, for which libtorch has no fused
/// kernel, the logits of one sequence are in memory at a time, and the backward pass recomputes them.
at::Tensor Attend(const AttentionHeads& heads);

}  // namespace regroup
