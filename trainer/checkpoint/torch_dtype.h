// Which libtorch element type a safetensors dtype is. Pure functions, for any thread.
#pragma once

#include <ATen/ATen.h>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

at::ScalarType ToScalarType(SafetensorsDtype dtype);

/// INVALID_ARGUMENT for an element type that safetensors files of ours do not hold (complex, quantised, 8-bit floats).
absl::StatusOr<SafetensorsDtype> ToSafetensorsDtype(at::ScalarType type);

}  // namespace regroup
