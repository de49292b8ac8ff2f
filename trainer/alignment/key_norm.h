// Treats keys and queries behind a norm (AttentionShape::key_norm).
//
// The norm is not linear: of the maps in README.md, "Which maps are allowed", only the exchange of heads is left for
// queries and keys. The shared key is the mean of its heads, whose rows are first scaled to the same size under
// KeyNorm::kPerHead, and queries do not change. Values are as free as without a norm.
//
// The functions may be called from any thread; those that change an alignment need exclusive access to it.
#pragma once

#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_statistics.h"

namespace regroup {

/// Returns the layer with its norms replaced by linear maps, for Grams and figures: the root mean square over a token's
/// entries is replaced by that over the calibration tokens, and the norms' weights are multiplied into the projections.
/// A layer without norms is returned as it is.
AttentionWeights LineariseNorms(const AttentionWeights& weights, const AttentionShape& shape,
                                const LayerStatistics& statistics);

/// Replaces the maps of keys and queries by plain means.
void AverageKeys(LayerAlignment& alignment, const AttentionShape& shape);

/// Under KeyNorm::kPerHead, gives every head the same weight in the mean of the layer's own rows, by the Frobenius norm
/// of its rows, since the norm removes their sizes. Scaling by the energy of a head's keys on the calibration tokens,
/// which the residuals assume, gives no better model: perplexities of a small Qwen3 were 1 % higher.
void EqualiseKeys(LayerAlignment& alignment, const AttentionWeights& weights, const AttentionShape& shape);

/// Holds the key rows and the norm weight of the merged layer under KeyNorm::kAllHeads. With W' the mean of diag(w_i)
/// W_i over a group and w the root mean square of w_i, rows are W' / w, and the weight is w times the ratio of the new
/// rows' root mean square to the old ones', so that keys keep their size on isotropic input. A group of one head stays
/// as it is.
struct MergedKeys {
  at::Tensor rows;  // [groups, head_width, n], float64
  at::Tensor norm;  // [groups * head_width], float64
};
MergedKeys MergeKeysUnderSharedNorm(const at::Tensor& rows, const at::Tensor& norm, int64_t groups);

}  // namespace regroup
