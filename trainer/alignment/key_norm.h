// Treats keys and queries behind a norm (AttentionShape::key_norm).
//
// The norm divides a row W x by its root mean square and multiplies it by weights D. Of the maps in README.md, "Which
// maps are allowed", orthogonal ones leave the root mean square as it is, and those that also commute with D leave the
// model's function unchanged: besides the exchange of heads, the sign of a rotary pair or of a coordinate that does not
// rotate. A phase P of a pair commutes with D only if its two weights are equal. With the rows D^-1 P D W in place of W
// the norm returns P times the key or query that it returned before, but divided by the root mean square of the new
// rows, which differs from that of the old ones by the square of the difference of the weights, on average over inputs
// in which both entries of a pair have the same energy, uncorrelated.
//
// The shared key is the mean of its turned heads, whose rows are first scaled to the same size under KeyNorm::kPerHead.
// Values are as free as without a norm.
//
// The functions may be called from any thread; those that change an alignment need exclusive access to it.
#pragma once

#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_grams.h"
#include "trainer/alignment/layer_statistics.h"
#include "trainer/alignment/registry.h"

namespace regroup {

/// Returns the layer with its norms replaced by linear maps, for Grams and figures: the root mean square over a token's
/// entries is replaced by that over the calibration tokens, and the norms' weights are multiplied into the projections.
/// A layer without norms is returned as it is.
AttentionWeights LineariseNorms(const AttentionWeights& weights, const AttentionShape& shape,
                                const LayerStatistics& statistics);

/// Replaces the maps of keys and queries by plain means.
void AverageKeys(LayerAlignment& alignment, const AttentionShape& shape);

/// Returns the turns that a method may use. With phases, a pair of a head may turn freely if the larger of its two
/// weights, in the norms of its key and of its queries, is at most 1.5 times the smaller one.
KeyTurns KeyTurnsOf(const AttentionWeights& weights, const AttentionShape& shape, NormMaps maps);

/// Turns the means of AverageKeys as grams.turns allows: for each group and rotary pair, complex numbers c_i of modulus
/// 1, or signs, that make the error of the logits small,
///
///   sum_i w_i E|c_i k_i - m|^2 with m = (1 / n) sum_j c_j k_j,
///
/// w_i the energy of the queries that read head i; and signs of the other coordinates in the same way. Phases are found
/// as in generalised_procrustes.h. The search for signs starts at the leading eigenvector and changes one sign at a
/// time while that helps; in large groups it may miss the best ones.
void TurnKeys(LayerAlignment& alignment, const LayerGrams& grams);

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
