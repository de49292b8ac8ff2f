// Names of this machine, its CPU and its GPU. Reads /proc; needs no CUDA library. Thread-safe.
#pragma once

#include <string>

namespace regroup {

/// Returns the machine's host name; "localhost" if the system does not report it.
std::string HostName();

/// Returns the CPU's model; empty if the system does not report it.
std::string ProcessorName();

/// Returns the first NVIDIA GPU's model, "NVIDIA H200"; empty if the driver does not report it.
std::string GpuName();

}  // namespace regroup
