// Converts between the layouts of a checkpoint's tensors and Regroup's parameters: transposed and fused projections.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/families/family.h"

namespace regroup {

/// Returns how many parameters one tensor of the checkpoint holds.
int PartsOf(Packing packing);

/// Returns the shape in the checkpoint of a parameter of this `shape` (fused: all parts must have it).
std::vector<int64_t> PackedShape(Packing packing, std::vector<int64_t> shape);

/// Returns one part of a checkpoint's tensor in Regroup's layout, [out, in] or [out]; a view if possible. `heads` is
/// the number of heads of the fused projection.
at::Tensor Unpack(const at::Tensor& stored, Packing packing, int part, int64_t heads);

/// Returns the checkpoint's tensor made of all its parts. Parts of a fused tensor must have the same shape.
at::Tensor Pack(const std::vector<at::Tensor>& parts, Packing packing, int64_t heads);

}  // namespace regroup
