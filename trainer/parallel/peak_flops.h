// The most floating-point operations a second that a device can do, to tell how well it is used. Pure, but for the
// environment.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace regroup {

/// Of matrix products in `type`, without sparsity: what REGROUP_PEAK_FLOPS states for one rank, or NVIDIA's data sheet
/// of the device where it is bfloat16 on one of the known GPUs.
std::optional<double> PeakFlopsPerSecond(std::string_view device_name, at::ScalarType type);

}  // namespace regroup
