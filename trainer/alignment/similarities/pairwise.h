// Computes a number for every pair of heads, each in a task of its own. Pure; may be called from any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "trainer/alignment/layer_grams.h"

namespace regroup {

/// Returns the symmetric matrix [heads, heads] with figure(i, j) for i < j and 0 on the diagonal; `width` as in
/// ParallelTasks.
at::Tensor ForPairsOfHeads(int64_t heads, int64_t width, const std::function<double(int64_t, int64_t)>& figure);

/// Returns the sum of singular values of every block G_ij, i != j, of a Gram [H, w, H, w], and 0 on the diagonal; NaN
/// where the sum of a block's squares is not finite. It is the maximum over orthogonal Q of tr(G_ij Q): how alike two
/// heads can be made by turning one.
at::Tensor BlockNuclearNorms(const at::Tensor& gram);

/// Returns the traces [H] of the diagonal blocks of a Gram [H, w, H, w].
at::Tensor BlockTraces(const at::Tensor& gram);

/// Returns sum_t |G_ij,t| [H, H] of the complex Gram [pairs, H, H]: the same as BlockNuclearNorms for rotary pairs,
/// each of which may turn on its own.
at::Tensor PairModuli(const at::Tensor& gram);

/// Returns the largest inner product of two key heads, E <k_i, k_j rotated> [H, H], from the complex Gram of rotary
/// pairs and the Gram of the other coordinates. Keys behind a norm turn only as far as `turns` says.
at::Tensor KeyInnerProducts(const at::Tensor& pairs, const at::Tensor& free, const LayerGrams& of_layer);

/// Returns the terms of that sum for keys behind a norm, [pairs, H, H] and [coordinates, H, H].
at::Tensor TurnedPairs(const at::Tensor& pairs, const KeyTurns& turns);
at::Tensor TurnedCoordinates(const at::Tensor& free, const KeyTurns& turns);

/// Returns sum_t G_ii,t [H].
at::Tensor PairTraces(const at::Tensor& gram);

}  // namespace regroup
