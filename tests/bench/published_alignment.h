// Reimplements the paper's own procedure on activations, as its published program does it, for comparison: similarities
// from one Procrustes problem per pair of heads on unit-length rows, hill climbing from 200 random groupings with 3,000
// random swaps each, and in each group alignment to the running mean until the sum of cosines gains less than 1e-5, at
// most 100 times.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/alignment/grouping.h"

namespace regroup {

enum class PublishedMode {
  /// The published sequence of operations: one 2 x 2 decomposition for each rotary pair of each head. In C++ it has
  /// less overhead between operations than the published Python.
  kLiteral,
  /// The same results, but the rotations of all rotary pairs of a head are computed at once, in closed form.
  kAccelerated,
};

struct PublishedAlignment {
  /// Mean cosine of unit-length rows after the best orthogonal map of one head to the other, [heads, heads].
  SimilarityMatrix similarity;
  HeadGroups groups;
  /// Orthogonal maps [heads, width, width] on row vectors, by the source's own head order.
  at::Tensor value_maps, key_maps;
};

/// Aligns the values and keys of one layer [heads, tokens, width], float64. Keys rotate in pairs (t, t + width / 2).
PublishedAlignment AlignAsPublished(const at::Tensor& values, const at::Tensor& keys, int64_t groups,
                                    PublishedMode mode, uint64_t seed);

/// Returns the sum over groups and pairs of their heads of the mean cosine of rows, after each head's map.
double SumOfCosines(const at::Tensor& heads, const at::Tensor& maps, const HeadGroups& groups);

}  // namespace regroup
