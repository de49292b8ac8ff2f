// Converts between libtorch element types and safetensors dtypes. Pure functions, for any thread.
#pragma once

#include <ATen/ATen.h>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

at::ScalarType ToScalarType(SafetensorsDtype dtype);

/// Returns true if elements of this type may be used where they lie.
bool IsAligned(const char* data, SafetensorsDtype dtype);

/// INVALID_ARGUMENT for an element type that Regroup does not write to safetensors files (complex, quantised, 8-bit
/// floats).
absl::StatusOr<SafetensorsDtype> ToSafetensorsDtype(at::ScalarType type);

}  // namespace regroup
