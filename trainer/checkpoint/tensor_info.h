// Name, element type and shape of a stored tensor, and counts over many of them. Does not use libtorch. Functions are
// pure and may be called from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

struct TensorInfo {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<int64_t> shape;
  /// Returns the number of elements.
  int64_t elements() const;
};

/// Returns the dtype that most elements have; F32 without tensors.
SafetensorsDtype MainDtype(const std::vector<TensorInfo>& tensors);

/// Lists the number of tensors of each dtype, most elements first: "BF16 (290 tensors), F32 (1 tensor)".
std::string DtypeSummary(const std::vector<TensorInfo>& tensors);

}  // namespace regroup
