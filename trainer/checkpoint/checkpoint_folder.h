// A Hugging Face model folder opened for reading: config.json and the tensors of one or several files.
//
// Shared and immutable; any thread may call any function. Runs no code of the folder (torch_pickle.h).
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
#include "trainer/checkpoint/quantisation.h"
#include "trainer/checkpoint/tensor_info.h"
#include "trainer/checkpoint/weights_file.h"

namespace regroup {

/// Digests of a folder's content at an earlier time.
struct CheckpointDigests {
  /// SHA-256 of config.json.
  std::string config;
  /// By name, a tensor's element type and shape, and the SHA-256 of its bytes: "BF16 4096 4096\n0a1b...".
  std::map<std::string, std::string, std::less<>> tensors;
};

/// Decides what is compared with digests of an earlier time.
enum class Compared {
  /// A view of the file: whoever may write to the file can still change it afterwards.
  kViews,
  /// A copy in memory of its own, which is then handed out.
  kCopies,
};

/// Returns one SHA-256 over all of them. It does not depend on how the tensors are spread over files, nor on the format
/// of the files.
std::string DigestOf(const CheckpointDigests& digests);

/// Names are those of the model: without the parts that wrappers add (wrapper_names.h). Weights that are stored as
/// 8-bit floats appear in the element type that they are read as, and their scales not at all.
class CheckpointFolder {
 public:
  /// Reads config.json and the descriptions of all tensors (see find_weights.h for the files). NOT_FOUND for a missing
  /// folder or file; INVALID_ARGUMENT for weights that are quantised in a way that cannot be read and for an adapter
  /// beside the model, with what to do; DATA_LOSS for malformed files, and for two tensors with the same name.
  /// With `expected`, config.json, and each tensor when it is first handed out, are compared with what was read
  /// before; DATA_LOSS names the file or the tensor that changed.
  static absl::StatusOr<std::shared_ptr<const CheckpointFolder>> Open(
      const std::filesystem::path& folder, std::shared_ptr<const CheckpointDigests> expected = nullptr,
      Compared compared = Compared::kViews);

  const std::filesystem::path& path() const { return path_; }
  /// Returns config.json, which is always an object.
  const nlohmann::json& config() const { return config_; }
  const std::string& config_text() const { return config_text_; }
  /// Returns the files that hold the tensors, ordered by name.
  const std::vector<std::shared_ptr<const WeightsFile>>& files() const { return files_; }
  /// Returns what people should know about how the folder is read, one sentence each.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Returns all tensors, ordered by name.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  /// Returns null if the tensor does not exist.
  const TensorInfo* Find(std::string_view name) const;
  /// Returns the tensor, contiguous: a read-only view of the mapped file where it is stored so, or a copy of it
  /// (always with Compared::kCopies); clone() it before writing. NOT_FOUND names the folder and the tensor.
  absl::StatusOr<at::Tensor> Tensor(std::string_view name) const;
  /// Returns DATA_LOSS for a tensor that the model needs and the folder does not have, with what is there instead.
  absl::Status Missing(std::string_view name) const;

  /// Reads all bytes, on up to `threads` threads (0: all cores).
  CheckpointDigests Digests(int threads = 0) const;

 private:
  /// A tensor as its file has it, under the model's name.
  struct Stored {
    TensorInfo info;
    std::string name_in_file;
    const WeightsFile* file = nullptr;
  };

  CheckpointFolder() = default;
  absl::Status ListStored();
  absl::Status ListTensors();
  /// Finds the scale of a tensor, if it is a weight that has one. Errors: see Open.
  absl::Status FindScale(const Stored& weight);
  const Stored* FindStored(std::string_view name) const;
  /// Compares the tensor with what is expected and returns it as its file has it.
  absl::StatusOr<at::Tensor> StoredTensor(std::string_view name) const;
  absl::Status CheckConfig() const;
  /// Compares the tensor with what is expected, unless that was done before.
  absl::Status CheckTensor(const Stored& stored, const at::Tensor& tensor) const;
  absl::Status CompareTensor(const Stored& stored, const at::Tensor& tensor) const;

  std::filesystem::path path_;
  nlohmann::json config_;
  std::string config_text_;
  Quantisation quantisation_;
  std::vector<std::shared_ptr<const WeightsFile>> files_;
  std::map<std::string, std::string, std::less<>> listed_;
  /// Ordered by name.
  std::vector<Stored> stored_;
  std::vector<TensorInfo> tensors_;
  /// Names of the scales of weights that are stored as 8-bit floats.
  std::map<std::string, std::string, std::less<>> scales_;
  std::vector<std::string> notes_;
  std::shared_ptr<const CheckpointDigests> expected_;
  Compared compared_ = Compared::kViews;
  mutable std::mutex checking_;
  /// Tensors whose bytes are as expected.
  mutable std::set<std::string, std::less<>> checked_;
};

/// Puts the folder in front of an error that begins with "config.json".
absl::Status InFolder(const std::filesystem::path& folder, const absl::Status& status);

}  // namespace regroup
