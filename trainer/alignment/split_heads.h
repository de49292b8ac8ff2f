// Splits the KV heads of a grouped-query layer into copies, so that they can be grouped anew by query heads.
//
// A target that divides the number of query heads but not that of KV heads, such as 8 of 10 KV heads with 40 query
// heads, needs groups that take some of the query heads of a KV head and leave others. After the split every copy has
// the query heads that it keeps, the layer computes what it did before, and any method aligns the copies like heads of
// their own. Copies of one head merge without loss.
#pragma once

#include <cstdint>

#include "trainer/alignment/attention.h"

namespace regroup {

/// Returns the number of KV heads that a layer is split into for this target: its own where the target divides it, else
/// the least common multiple. It is its own for a target that is not possible too.
int64_t HeadsForTarget(const AttentionShape& shape, int64_t target);

/// Returns the sizes with another number of KV heads.
AttentionShape WithKvHeads(AttentionShape shape, int64_t kv_heads);

/// Returns the tensor with each part of its first axis, of `heads` equal parts, repeated in place `copies` times.
/// Undefined tensors stay undefined.
at::Tensor RepeatHeads(const at::Tensor& rows, int64_t heads, int64_t copies);

/// Returns weights of the shape WithKvHeads(shape, kv_heads) that compute the same. `kv_heads` must be a multiple of
/// the layer's and divide its query heads.
AttentionWeights SplitHeads(AttentionWeights weights, const AttentionShape& shape, int64_t kv_heads);

}  // namespace regroup
