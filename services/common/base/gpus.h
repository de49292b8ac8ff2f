// Finds the NVIDIA GPUs of this machine by their device files; needs no CUDA library. Thread-safe.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace regroup {

/// Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.
///
/// `chosen` is the value of that variable, or null where it is not set; as in CUDA, an entry that names no GPU ends the
/// list, and none is visible if one is named twice. Otherwise the GPUs are 0, 1, ..., one for each file nvidia<number>
/// in `devices`: a container may show only nvidia3, which CUDA then calls 0. Windows shows one file, dxg, for all of
/// its GPUs to Linux; the first is used.
std::vector<std::string> VisibleGpus(const char* chosen, const std::filesystem::path& devices = "/dev");

/// Does the same with the environment of this process.
std::vector<std::string> VisibleGpus();

}  // namespace regroup
