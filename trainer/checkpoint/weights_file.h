// A file of named tensors: safetensors, or what torch.save wrote.
//
// Shared and immutable; any thread may call any function. Tensors are views of the mapped file.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/tensor_info.h"

namespace regroup {

class WeightsFile {
 public:
  virtual ~WeightsFile() = default;

  virtual const std::filesystem::path& path() const = 0;
  /// Returns name, dtype and shape of every tensor. No name occurs twice.
  virtual std::vector<TensorInfo> tensors() const = 0;
  /// Returns a read-only view of the mapped file, which need not be contiguous; clone() it before writing. NOT_FOUND.
  virtual absl::StatusOr<at::Tensor> Tensor(std::string_view name) const = 0;
};

/// Opens a file by its extension: .safetensors, otherwise an archive of torch.save. Errors: those of InputFile, and
/// DATA_LOSS for a file that is malformed or truncated.
absl::StatusOr<std::shared_ptr<const WeightsFile>> OpenWeightsFile(const std::filesystem::path& path);

}  // namespace regroup
