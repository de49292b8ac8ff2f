// Linear maps on the coordinates of key and query heads: a complex number for each rotary pair, a matrix for the other
// coordinates. Pure; any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/alignment/attention.h"

namespace regroup {

/// One map for each head of the rows they meet; float64.
struct CoordinateMaps {
  at::Tensor pairs;  // [heads, pairs, 2]: real and imaginary part
  at::Tensor free;   // [heads, free, free]

  CoordinateMaps Select(const at::Tensor& order) const;
};

/// Row vector x -> x mapped, on the rows W [heads, width, n] of a projection x = input W^T.
at::Tensor MapCoordinates(const at::Tensor& rows, const CoordinateMaps& maps, const AttentionShape& shape);

}  // namespace regroup
