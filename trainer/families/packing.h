// Between a checkpoint's tensors and ours, where the layouts differ: transposed and fused projections.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/families/family.h"

namespace regroup {

/// How many of our parameters one tensor of the checkpoint holds.
int PartsOf(Packing packing);

/// The shape in the checkpoint of a parameter that has `shape` with us (fused: where all parts have it).
std::vector<int64_t> PackedShape(Packing packing, std::vector<int64_t> shape);

/// One part of a checkpoint's tensor in our layout, [out, in] or [out]; a view where that is possible. `heads` of the
/// fused projection.
at::Tensor Unpack(const at::Tensor& stored, Packing packing, int part, int64_t heads);

/// The checkpoint's tensor of all its parts. Parts of a fused tensor must have the same shape.
at::Tensor Pack(const std::vector<at::Tensor>& parts, Packing packing, int64_t heads);

}  // namespace regroup
