// A Hugging Face model folder opened for reading: config.json and the tensors of one or several safetensors files.
//
// Shared and immutable; any thread may call any function. Never reads a pickle.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_file.h"
#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

/// Name, dtype and shape of a tensor.
struct TensorInfo {
  std::string name;
  SafetensorsDtype dtype;
  std::vector<int64_t> shape;
  /// Returns the number of elements.
  int64_t elements() const;
};

/// Digests of a folder's content at an earlier time.
struct CheckpointDigests {
  /// SHA-256 of config.json.
  std::string config;
  /// By name, a tensor's element type and shape, and the SHA-256 of its bytes: "BF16 4096 4096\n0a1b...".
  std::map<std::string, std::string, std::less<>> tensors;
  /// True if a tensor is copied into memory of its own before it is compared. Otherwise it stays a view of the file,
  /// and whoever may write to the file can still change it afterwards.
  bool are_for_copies = false;
};

/// Returns one SHA-256 over all of them. It does not depend on how the tensors are spread over files.
std::string DigestOf(const CheckpointDigests& digests);

class CheckpointFolder {
 public:
  /// Reads config.json and the headers of model.safetensors, or of the shards that model.safetensors.index.json lists.
  /// NOT_FOUND for a missing folder or file; INVALID_ARGUMENT for a malformed one, for an index that does not agree
  /// with its shards, and for a folder that has pickle files only (the message says how to convert them).
  /// With `expected`, config.json, and each tensor when it is first handed out, are compared with what was read
  /// before; DATA_LOSS names the file or the tensor that changed.
  static absl::StatusOr<std::shared_ptr<const CheckpointFolder>> Open(
      const std::filesystem::path& folder, std::shared_ptr<const CheckpointDigests> expected = nullptr);

  const std::filesystem::path& path() const { return path_; }
  /// Returns config.json, which is always an object.
  const nlohmann::json& config() const { return config_; }
  const std::string& config_text() const { return config_text_; }
  /// Returns the files that hold the tensors, ordered by name.
  const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const { return files_; }

  /// Returns all tensors, ordered by name.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  /// Returns null if the tensor does not exist.
  const TensorInfo* Find(std::string_view name) const;
  /// Returns a read-only view of the mapped file, or a copy of it (CheckpointDigests::are_for_copies); clone() it
  /// before writing. NOT_FOUND names the folder and the tensor.
  absl::StatusOr<at::Tensor> Tensor(std::string_view name) const;

  /// Returns the total size of all tensors in bytes.
  uint64_t TotalBytes() const;
  /// Returns the dtype that most elements have; F32 for a folder without tensors.
  SafetensorsDtype MainDtype() const;
  /// Lists the number of tensors of each dtype, most elements first: "BF16 (290 tensors), F32 (1 tensor)".
  std::string DtypeSummary() const;

  /// Reads all bytes, on up to `threads` threads (0: all cores).
  CheckpointDigests Digests(int threads = 0) const;

 private:
  CheckpointFolder() = default;
  void ListTensors();
  const SafetensorsFile& FileOf(std::string_view name) const { return *files_[file_by_name_.find(name)->second]; }
  absl::Status CheckConfig() const;
  absl::Status CheckTensor(std::string_view name) const;
  absl::Status CheckBytes(std::string_view name, std::string_view bytes) const;
  absl::StatusOr<at::Tensor> CheckedCopy(std::string_view name) const;

  std::filesystem::path path_;
  nlohmann::json config_;
  std::string config_text_;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> file_by_name_;
  std::shared_ptr<const CheckpointDigests> expected_;
  mutable std::mutex checking_;
  /// Tensors whose bytes are as expected.
  mutable std::set<std::string, std::less<>> checked_;
};

}  // namespace regroup
