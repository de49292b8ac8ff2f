// Describes an attention layer as the alignment sees it: its shape and its projection weights, the same for every model
// family.
//
// These are plain values, which may be read from any thread. A family's file fills them from a checkpoint (splitting
// fused projections, transposing where its layout differs) and takes them back. Tensors are shared, not copied; nothing
// here changes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/status.h"

namespace regroup {

/// The norm between the key projection and the rotation, and likewise on queries. It is not linear; key_norm.h says
/// which maps remain.
enum class KeyNorm {
  kNone,
  /// Normalises each head by itself; the weight [head_width] serves all heads.
  kPerHead,
  /// Normalises all heads together; the weight has an entry for every row of the projection.
  kAllHeads,
};

/// Holds the sizes of one attention layer. A KV head owns query_heads / kv_heads query heads: query head j reads KV
/// head j / (query_heads / kv_heads).
struct AttentionShape {
  /// Width of the input that keys and values are computed from.
  int64_t hidden = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  /// Width of a query or key head.
  int64_t head_width = 0;
  /// Width of a value head, which equals head_width in most models.
  int64_t value_width = 0;
  /// Number of a key's coordinates that the rotary embedding rotates: the first rotary_width of each head. 0 means
  /// none.
  int64_t rotary_width = 0;
  /// If true, rotary pairs are (2t, 2t + 1), as in GPT-J; otherwise (t, t + rotary_width / 2).
  bool interleaved = false;
  /// If true, queries come from another input than keys and values, of width query_hidden.
  bool cross_attention = false;
  /// Width of the queries' input; read only if cross_attention is set.
  int64_t query_hidden = 0;
  KeyNorm key_norm = KeyNorm::kNone;

  int64_t QueriesPerHead() const { return query_heads / kv_heads; }
  int64_t RotaryPairs() const { return rotary_width / 2; }
  /// Returns the number of key coordinates without rotation. Any invertible map is allowed on them.
  int64_t FreeWidth() const { return head_width - rotary_width; }
  int64_t QueryInputWidth() const { return cross_attention ? query_hidden : hidden; }
};

/// Holds projections in the layout of torch.nn.Linear (out, in), heads one after the other along the head axis. The
/// bias of the output projection is left out: no alignment changes it. An undefined bias means there is none.
struct AttentionWeights {
  at::Tensor query;   // [query_heads * head_width, QueryInputWidth]
  at::Tensor key;     // [kv_heads * head_width, hidden]
  at::Tensor value;   // [kv_heads * value_width, hidden]
  at::Tensor output;  // [any, query_heads * value_width]
  at::Tensor query_bias;
  at::Tensor key_bias;
  at::Tensor value_bias;
  // The weights of the norms on queries and keys are undefined if there are none.
  at::Tensor query_norm;  // [head_width] or [query_heads * head_width], see KeyNorm
  at::Tensor key_norm;    // [head_width] or [kv_heads * head_width]
};

/// Returns INVALID_ARGUMENT with the first size that is not positive or does not divide.
absl::Status CheckShape(const AttentionShape& shape);

/// Does the checks of CheckShape, and returns INVALID_ARGUMENT with the first weight that does not have the size
/// required by the shape.
absl::Status CheckWeights(const AttentionWeights& weights, const AttentionShape& shape);

/// These return the indices of the first and of the second coordinate of every rotary pair inside a head, int64
/// [RotaryPairs].
at::Tensor FirstOfPairs(const AttentionShape& shape);
at::Tensor SecondOfPairs(const AttentionShape& shape);

}  // namespace regroup
