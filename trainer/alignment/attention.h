// The attention layer as the alignment sees it: its shape and its projection weights, the same for every model family.
//
// Plain values. A family's file fills them from a checkpoint (splitting fused projections, transposing where its
// layout differs) and takes them back. Tensors are shared, not copied; nothing here changes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/status.h"

namespace regroup {

/// A norm between the key projection and the rotation, and likewise on queries. It is not linear: no map of single
/// coordinates passes through it, so that such keys are averaged as they are.
enum class KeyNorm {
  kNone,
  /// Each head by itself; the weight [head_width] serves all heads.
  kPerHead,
  /// All heads together; the weight has an entry for every row of the projection.
  kAllHeads,
};

/// Sizes of one attention layer. A KV head owns query_heads / kv_heads query heads: query head j reads KV head
/// j / (query_heads / kv_heads).
struct AttentionShape {
  /// Width of the input that keys and values are computed from.
  int64_t hidden = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  /// Width of a query or key head.
  int64_t head_width = 0;
  /// Width of a value head; the same as head_width in most models.
  int64_t value_width = 0;
  /// Coordinates of a key that the rotary embedding turns: the first rotary_width of each head. 0 means none.
  int64_t rotary_width = 0;
  /// Rotary pairs are (2t, 2t + 1), as in GPT-J; otherwise (t, t + rotary_width / 2).
  bool interleaved = false;
  /// Queries come from another input than keys and values, of width query_hidden.
  bool cross_attention = false;
  /// Width of the queries' input; read where cross_attention is set.
  int64_t query_hidden = 0;
  KeyNorm key_norm = KeyNorm::kNone;

  int64_t QueriesPerHead() const { return query_heads / kv_heads; }
  int64_t RotaryPairs() const { return rotary_width / 2; }
  /// Key coordinates without rotation. Any invertible map is allowed on them.
  int64_t FreeWidth() const { return head_width - rotary_width; }
  int64_t QueryInputWidth() const { return cross_attention ? query_hidden : hidden; }
};

/// Projections in the layout of torch.nn.Linear (out, in), heads one after the other along the head axis. The bias of
/// the output projection is not here: no alignment touches it. An undefined bias means there is none.
struct AttentionWeights {
  at::Tensor query;   // [query_heads * head_width, QueryInputWidth]
  at::Tensor key;     // [kv_heads * head_width, hidden]
  at::Tensor value;   // [kv_heads * value_width, hidden]
  at::Tensor output;  // [any, query_heads * value_width]
  at::Tensor query_bias;
  at::Tensor key_bias;
  at::Tensor value_bias;
  // Weights of the norms on queries and keys; undefined where there are none.
  at::Tensor query_norm;  // [head_width] or [query_heads * head_width], see KeyNorm
  at::Tensor key_norm;    // [head_width] or [kv_heads * head_width]
};

/// INVALID_ARGUMENT names the first size that is not positive or does not divide.
absl::Status CheckShape(const AttentionShape& shape);

/// CheckShape, and INVALID_ARGUMENT names the first weight that does not have the size the shape asks for.
absl::Status CheckWeights(const AttentionWeights& weights, const AttentionShape& shape);

/// Indices of the first and the second coordinate of every rotary pair inside a head, int64 [RotaryPairs] each.
at::Tensor FirstOfPairs(const AttentionShape& shape);
at::Tensor SecondOfPairs(const AttentionShape& shape);

}  // namespace regroup
