// A memory-mapped safetensors file: the bytes of a tensor are read from disk on first access.
//
// Shared: every tensor handed out keeps the mapping alive. Immutable; any thread may call any function. The mapping is
// read-only, so writing to a tensor faults: clone() it first.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/mapped_input.h"
#include "trainer/checkpoint/safetensors_header.h"
#include "trainer/checkpoint/weights_file.h"

namespace regroup {

class SafetensorsFile : public WeightsFile {
 public:
  /// Maps the file and checks its header (see safetensors_header.h). Errors: those of InputFile::Open, and DATA_LOSS
  /// for a malformed file.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::filesystem::path& path);

  const std::filesystem::path& path() const override { return mapping_->path(); }
  std::vector<TensorInfo> tensors() const override;
  /// Returns the tensor without copying its bytes, unless the file does not align them to the element size. NOT_FOUND.
  absl::StatusOr<at::Tensor> Tensor(std::string_view name) const override;

  /// Returns every tensor's name, dtype and shape, in the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  std::vector<std::string> names() const;

 private:
  explicit SafetensorsFile(std::shared_ptr<const MappedInput> mapping) : mapping_(std::move(mapping)) {}

  std::shared_ptr<const MappedInput> mapping_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_by_name_;
};

}  // namespace regroup
