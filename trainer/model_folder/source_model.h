// A checkpoint folder read as one of our families: weights by block, so that a model larger than memory can be worked
// on layer by layer. Immutable; any thread may read.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/families/family.h"
#include "trainer/nn/model.h"

namespace regroup {

class SourceModel {
 public:
  /// Opens the folder and checks that every tensor of the family is there with the shape that config.json asks for;
  /// reads no weights. INVALID_ARGUMENT or NOT_FOUND name the key, the file or the tensor.
  static absl::StatusOr<SourceModel> Open(const std::filesystem::path& folder);

  const Family& family() const { return *family_; }
  const ModelConfig& config() const { return config_; }
  const CheckpointFolder& folder() const { return *folder_; }
  /// Element type of the weights, which the result keeps.
  at::ScalarType dtype() const;
  int64_t ParameterCount() const;

  /// The weights of one layer as they lie in the file (memory-mapped, read-only).
  absl::StatusOr<Block> MapBlock(int64_t layer) const;
  /// The whole model as copies in `dtype` on `device`.
  absl::StatusOr<Model> Load(at::ScalarType dtype, at::Device device) const;
  /// All slots of the model, memory-mapped.
  absl::StatusOr<Model> Map() const;
  /// The same without any blocks.
  absl::StatusOr<Model> MapOuter() const;

 private:
  SourceModel() = default;
  absl::Status OpenCompact();
  absl::Status CheckTensors() const;
  absl::Status CheckTensor(const std::string& ours) const;
  /// Undefined where the family or the checkpoint has no such optional parameter.
  absl::StatusOr<at::Tensor> MapParameter(const std::string& ours) const;
  class FirstError;
  /// Fills every slot that it visits; `error` must outlive it.
  ParameterVisitor MapInto(FirstError& error) const;
  absl::Status MapHeadOrder(Block& block, int64_t layer) const;
  /// The parameter lies in the compact tensors of an expanded checkpoint.
  bool IsCompact(std::string_view ours) const;
  /// None for parameters that a model of this configuration does not have.
  std::optional<ParameterPlace> Place(std::string_view ours) const;
  std::string StoredName(const ParameterPlace& place) const;

  std::shared_ptr<const CheckpointFolder> folder_;
  /// Attention of an expanded checkpoint (see compact_attention.h) under our own names, or null.
  std::shared_ptr<const CheckpointFolder> compact_;
  /// The checkpoint leaves out the family's prefix.
  bool bare_names_ = false;
  const Family* family_ = nullptr;
  ModelConfig config_;
};

/// The shape that our parameter has with us in a model of this configuration, [out, in] or [width].
std::vector<int64_t> ExpectedShape(const ModelConfig& config, std::string_view ours);

}  // namespace regroup
