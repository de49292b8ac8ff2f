// Reads named tensors from one safetensors file and writes them to one.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "trainer/alignment/layer_statistics.h"

namespace regroup {

absl::Status SaveTensors(const std::filesystem::path& path, const NamedTensors& tensors);
/// Returns memory-mapped views.
absl::StatusOr<TensorMap> LoadTensors(const std::filesystem::path& path);

}  // namespace regroup
