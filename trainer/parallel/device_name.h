// What a device is called, for reports.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace regroup {

/// The processor's or the GPU's model name; "CPU" or "CUDA device" where the system does not tell.
std::string DeviceName(at::Device device);

}  // namespace regroup
