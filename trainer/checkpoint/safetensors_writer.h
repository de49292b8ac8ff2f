// Writes a safetensors file atomically: it appears complete or not at all.
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

/// Streams the tensors to a temporary file, fsyncs it, renames it to `path` (replacing an older file) and fsyncs the
/// folder. Tensors may lie on any device and need not be contiguous; they are copied one at a time. Tensors with wider
/// elements come first, so that every tensor is aligned; otherwise the order is kept. INVALID_ARGUMENT for a repeated
/// name or an element type that the format does not support; RESOURCE_EXHAUSTED for a full disk. May be called from any
/// thread.
absl::Status WriteSafetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace regroup
