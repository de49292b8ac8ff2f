// Returns the peak floating-point operations per second of a device, to compute its utilisation. Pure, except that it
// reads the environment.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace regroup {

/// Peak of matrix products in `type`, without sparsity: the value of REGROUP_PEAK_FLOPS for one rank, or that of
/// NVIDIA's data sheet if `type` is bfloat16 and the device is a known GPU.
std::optional<double> PeakFlopsPerSecond(std::string_view device_name, at::ScalarType type);

}  // namespace regroup
