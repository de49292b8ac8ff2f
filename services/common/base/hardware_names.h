// Names of this machine, its processor and its GPU. Reads /proc; no CUDA library is needed. Thread-safe.
#pragma once

#include <string>

namespace regroup {

/// Returns the machine's name in its network; "localhost" if the system does not tell.
std::string HostName();

/// Empty where the system does not tell.
std::string ProcessorName();

/// The first NVIDIA GPU's model, "NVIDIA H200"; empty where the driver does not tell.
std::string GpuName();

}  // namespace regroup
