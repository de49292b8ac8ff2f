// Computes x weight^T for the few rows of a decoding step, on CPU in float32, from a weight packed for this purpose.
//
// With 1 to 16 rows a general matrix product is bound by its own overhead, and a weight whose rows are read side by
// side is fetched page by page. Here 32 outputs form one panel, input by input, so that a thread reads its part of the
// weight as one stream while it multiplies, and memory bandwidth is the limit.
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

/// Returns true if PackWeight accepts the weight: two dimensions, float32, on CPU.
bool CanPack(const at::Tensor& weight);

PackedWeight PackWeight(const at::Tensor& weight);

/// Returns the weight [out, in] as a copy in its original layout.
at::Tensor UnpackWeight(const PackedWeight& weight);

/// Returns [..., out] from x [..., in]. For more than 16 rows the weight is unpacked for the general product. No
/// gradients.
at::Tensor LinearOfPacked(const at::Tensor& x, const PackedWeight& weight);

}  // namespace regroup
