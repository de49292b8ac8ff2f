// What the processor and the GPU call themselves. Reads /proc; no CUDA library is needed. Thread-safe.
#pragma once

#include <string>

namespace regroup {

/// Empty where the system does not tell.
std::string ProcessorName();

/// The first NVIDIA GPU's model, "NVIDIA H200"; empty where the driver does not tell.
std::string GpuName();

}  // namespace regroup
