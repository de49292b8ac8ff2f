// A memory-mapped safetensors file: the bytes of a tensor are read from disk on first access.
//
// Shared: every tensor handed out keeps the mapping alive. Immutable; any thread may call any function. The mapping is
// read-only, so writing to a tensor faults: clone() it first. If the file becomes shorter while it is open, an access
// is told to WatchMappedFiles.
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
#include "services/common/base/mapped_files.h"
#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

class SafetensorsFile : public std::enable_shared_from_this<SafetensorsFile> {
 public:
  /// Maps the file and checks its header (see safetensors_header.h). Errors: NOT_FOUND, PERMISSION_DENIED or
  /// INVALID_ARGUMENT.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::filesystem::path& path);

  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Returns every tensor's name, dtype and shape, in the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  std::vector<std::string> names() const;
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  /// Returns null if the file does not contain the tensor.
  const SafetensorsEntry* Find(std::string_view name) const;

  /// Returns the tensor without copying its bytes, unless the file does not align them to the element size. NOT_FOUND.
  absl::StatusOr<at::Tensor> Tensor(std::string_view name) const;
  /// Returns the tensor's bytes, valid as long as this object. NOT_FOUND.
  absl::StatusOr<std::string_view> Bytes(std::string_view name) const;

 private:
  SafetensorsFile(std::filesystem::path path, const char* mapping, size_t mapped_bytes);
  std::string_view BytesOf(const SafetensorsEntry& entry) const;

  std::filesystem::path path_;
  const char* mapping_;
  size_t mapped_bytes_;
  MappedFile known_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_by_name_;
};

}  // namespace regroup
