// Converts between the layouts of a checkpoint's tensors and Regroup's parameters: transposed and fused projections.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/families/family.h"

namespace regroup {

/// The shapes, [out, in] or [out], of the parameters that one tensor of the checkpoint holds, in its order. All
/// packings but kFusedRows and kStackedRows need equal ones. Of kStackedRows, the functions below see one expert.
using PartShapes = std::vector<std::vector<int64_t>>;

/// Returns the shape of the tensor in the checkpoint.
std::vector<int64_t> PackedShape(Packing packing, const PartShapes& parts);

/// Returns one part of a checkpoint's tensor in Regroup's layout; a view if possible. `heads` is the number of heads of
/// a fused projection.
at::Tensor Unpack(const at::Tensor& stored, Packing packing, const PartShapes& parts, int part, int64_t heads);

/// Returns the checkpoint's tensor made of all its parts.
at::Tensor Pack(const std::vector<at::Tensor>& parts, Packing packing, int64_t heads);

}  // namespace regroup
