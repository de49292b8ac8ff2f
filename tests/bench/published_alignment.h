// The paper's own procedure on activations, as its published program does it, for comparison: similarities from one
// Procrustes problem per pair of heads on unit-length rows, hill climbing from 200 random groupings with 3,000 random
// swaps each, and in each group alignment to the running mean until the sum of cosines gains less than 1e-5, at most
// 100 times. This is a new implementation.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/alignment/grouping.h"

namespace regroup {

enum class PublishedMode {
  /// The published sequence of operations: one decomposition of 2 x 2 for each rotary pair of each head. In C++ it
  /// spends less between operations than the published Python does.
  kLiteral,
  /// The same results with the rotations of all rotary pairs of a head found at once, in closed form.
  kAccelerated,
};

struct PublishedAlignment {
  /// Mean cosine of unit-length rows after the best orthogonal map of one head to the other, [heads, heads].
  SimilarityMatrix similarity;
  HeadGroups groups;
  /// Orthogonal maps [heads, width, width] on row vectors, by the source's own head order.
  at::Tensor value_maps, key_maps;
};

/// Aligns values and keys of one layer [heads, tokens, width], float64. Keys rotate in pairs (t, t + width / 2).
PublishedAlignment AlignAsPublished(const at::Tensor& values, const at::Tensor& keys, int64_t groups,
                                    PublishedMode mode, uint64_t seed);

/// Returns the mean cosine of rows after each head's map, summed over the pairs of heads in each group.
double SumOfCosines(const at::Tensor& heads, const at::Tensor& maps, const HeadGroups& groups);

}  // namespace regroup
