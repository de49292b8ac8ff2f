// Reads weights that are stored as 8-bit floats. Pure functions, for any thread.
#pragma once

#include <ATen/ATen.h>

namespace regroup {

/// Returns weight x scale, computed in float32 and rounded once to `target`. `weight` is [out, in]; `scale` is
/// undefined, one number, or a grid that divides the weight into equal blocks (CheckScale in quantisation.h). A scale
/// of whole bytes holds exponents of two, each plus 127.
at::Tensor DequantiseFp8(const at::Tensor& weight, const at::Tensor& scale, at::ScalarType target);

}  // namespace regroup
