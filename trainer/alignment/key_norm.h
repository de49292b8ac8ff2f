// Keys and queries behind a norm (AttentionShape::key_norm).
//
// The norm is not linear, so that of the maps of design 4.1 only the exchange of heads is left for queries and keys:
// the shared key is the mean of its heads, under KeyNorm::kPerHead each with rows of the same size, and queries stay.
// Values are free as ever.
#pragma once

#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_statistics.h"

namespace regroup {

/// The layer with its norms replaced by linear maps: the root mean square over a token's entries gives way to that over
/// the calibration tokens, and the norms' weights go into the projections. For Grams and figures; itself without norms.
AttentionWeights LineariseNorms(const AttentionWeights& weights, const AttentionShape& shape,
                                const LayerStatistics& statistics);

/// Puts means in place of the maps of keys and queries.
void AverageKeys(LayerAlignment& alignment, const AttentionShape& shape);

/// KeyNorm::kPerHead: lets every head count the same in the mean of the layer's own rows, by the Frobenius norm of its
/// rows, since the norm takes sizes away. By the energy of its keys on the calibration tokens, which the residuals
/// suppose, the merged model is no better: perplexities of a small Qwen3 were 1 % higher.
void EqualiseKeys(LayerAlignment& alignment, const AttentionWeights& weights, const AttentionShape& shape);

/// Key rows and norm weight of the merged layer under KeyNorm::kAllHeads. With W' the mean of diag(w_i) W_i over a
/// group and w the root mean square of w_i, rows are W' / w, and the weight is w times the ratio of the new rows' root
/// mean square to the old ones', so that keys keep their size on isotropic input. A group of one head stays as it is.
struct MergedKeys {
  at::Tensor rows;  // [groups, head_width, n], float64
  at::Tensor norm;  // [groups * head_width], float64
};
MergedKeys MergeKeysUnderSharedNorm(const at::Tensor& rows, const at::Tensor& norm, int64_t groups);

}  // namespace regroup
