// Returns the name of a device for reports.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace regroup {

/// Returns the model name of the CPU or GPU; "CPU" or "CUDA device" if the system does not report one.
std::string DeviceName(at::Device device);

}  // namespace regroup
