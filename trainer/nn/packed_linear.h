// x weight^T for the few rows of a decoding step, on CPU in float32, from a weight that was laid out for it.
//
// With 1 to 16 rows a general matrix product is bound by its own bookkeeping, and a weight whose rows are read side by
// side is fetched page by page. Here 32 outputs lie together as one panel, input by input, so that a thread reads its
// part of the weight as one stream while it multiplies: the memory sets the time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace regroup {

/// A weight [out, in] as panels [ceil(out / 32), in, 32], float32 on CPU; the last panel is padded with zeros.
struct PackedWeight {
  at::Tensor panels;
  int64_t outputs = 0;

  bool defined() const { return panels.defined(); }
};

/// Whether PackWeight takes it: two dimensions, float32, on CPU.
bool CanPack(const at::Tensor& weight);

PackedWeight PackWeight(const at::Tensor& weight);

/// The weight [out, in] again, a copy.
at::Tensor UnpackWeight(const PackedWeight& weight);

/// [..., out] from x [..., in]. Beyond 16 rows the weight is unpacked for the general product. No gradients.
at::Tensor LinearOfPacked(const at::Tensor& x, const PackedWeight& weight);

}  // namespace regroup
