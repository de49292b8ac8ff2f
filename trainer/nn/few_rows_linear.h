// x weight^T for the few rows of a decoding step, on CPU in float32.
//
// With 1 to 16 rows a general matrix product is bound by its own bookkeeping; this loop reads each weight once, in the
// order it lies in memory, and is bound by the memory.
#pragma once

#include <ATen/core/Tensor.h>

namespace regroup {

/// Whether LinearOfFewRows takes these: float32 on CPU, contiguous weight, few rows, no gradients wanted.
bool HasFewRows(const at::Tensor& x, const at::Tensor& weight);

/// [..., out] from x [..., in] and weight [out, in].
at::Tensor LinearOfFewRows(const at::Tensor& x, const at::Tensor& weight);

}  // namespace regroup
