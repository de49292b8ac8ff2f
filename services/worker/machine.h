// Describes the CPUs and GPUs of this machine. Reads /dev and /proc; no CUDA library is needed. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "services/common/base/hardware_names.h"

namespace regroup {

/// Returns the number of CPUs that this process may use.
int UsableCores();

/// Returns "cuda" if an NVIDIA GPU is visible, else "cpu".
std::string DetectDevice();

/// Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty for device "cpu". For "cuda"
/// there is at least one: where none is visible, tasks fail with the driver's reason.
std::vector<std::string> UsableGpus(const std::string& device);

/// Returns the GPU's name, such as "NVIDIA H200", or the CPU's.
std::string DeviceName(const std::string& device);

}  // namespace regroup
