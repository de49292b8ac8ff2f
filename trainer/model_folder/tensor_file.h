// Named tensors to and from one safetensors file.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "trainer/alignment/layer_statistics.h"

namespace regroup {

absl::Status SaveTensors(const std::filesystem::path& path, const NamedTensors& tensors);
/// Memory-mapped views.
absl::StatusOr<TensorMap> LoadTensors(const std::filesystem::path& path);

}  // namespace regroup
