// Writes a safetensors file that appears complete or not at all.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace regroup {

using NamedTensor = std::pair<std::string, at::Tensor>;

/// Streams the tensors to a temporary name, fsyncs, renames to `path` (replacing it) and fsyncs the folder. Tensors may
/// lie on any device and need not be contiguous; one at a time is copied. Wider elements come first, so that every
/// tensor is aligned; otherwise the order is kept. INVALID_ARGUMENT for a repeated name or an element type that the
/// format lacks; RESOURCE_EXHAUSTED for a full disk. May be called from any thread.
absl::Status WriteSafetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace regroup
