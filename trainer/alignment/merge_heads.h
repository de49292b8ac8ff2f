// Applies an alignment to the weights of a layer, with and without merging.
//
// Both functions put the heads in the same new order: KV heads group by group, and with each KV head its query heads,
// so that query head j of the result reads KV head j / (query heads / KV heads), as grouped-query attention is defined
// everywhere. If the alignment has split the layer's KV heads (split_heads.h), both split them too. Rows of W_q and
// columns of W_o move together; attention is a sum over query heads, so the order alone changes nothing. Queries and
// outputs of both results are equal: l0 training may mix aligned keys and values with the shared ones of their group.
// KV head i of the unmerged result belongs to group i / group size.
//
// Arithmetic is float64 on the CPU; results have the type of the weights given. The functions are pure and may be
// called from any thread.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"

namespace regroup {

/// Returns the layer with aligned heads: same sizes, same function, by the equations of layer_alignment.h; nearly the
/// same where pairs behind a norm turn by any angle (key_norm.h).
absl::StatusOr<AttentionWeights> ApplyAlignment(const AttentionWeights& weights, const LayerAlignment& alignment,
                                                const AttentionShape& shape);

/// Returns the layer with one shared KV head per group: key [groups * head_width, hidden], value [groups * value_width,
/// hidden].
absl::StatusOr<AttentionWeights> MergeHeads(const AttentionWeights& weights, const LayerAlignment& alignment,
                                            const AttentionShape& shape);

/// Keys and values of all KV heads of an alignment, in the source's order: [LayerAlignment::HeadCount * width, hidden]
/// each.
struct SpreadRows {
  at::Tensor key, value;
};

/// Returns what the merged layer computes with in place of each head of the source, in the source's own coordinates:
/// v_g O_i for values, and the key k with q'k_g = q k for keys. With groups of one head these are the source's rows;
/// directions that `principal` drops are zero.
absl::StatusOr<SpreadRows> SpreadHeads(const AttentionWeights& merged, const LayerAlignment& alignment,
                                       const AttentionShape& shape);

/// These return the source's KV head, or its query head, at each place of the new order.
std::vector<int64_t> KvHeadOrder(const LayerAlignment& alignment);
std::vector<int64_t> QueryHeadOrder(const LayerAlignment& alignment, const AttentionShape& shape);

}  // namespace regroup
