// Finds the processors and GPUs of this machine. Reads /dev and /proc; no CUDA library is needed. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "services/common/base/hardware_names.h"

namespace regroup {

/// Processors this process may use.
int UsableCores();

/// "cuda" where an NVIDIA GPU is visible, else "cpu".
std::string DetectDevice();

/// The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; empty for device "cpu".
std::vector<std::string> UsableGpus(const std::string& device);

/// "NVIDIA H200", or the processor's name.
std::string DeviceName(const std::string& device);

}  // namespace regroup
