// Reads a checkpoint folder as a model of a known family: weights by block, so that a model larger than memory can be
// processed layer by layer. Immutable; any thread may read.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/families/family.h"
#include "trainer/model_folder/tied_embeddings.h"
#include "trainer/nn/model.h"

namespace regroup {

/// Digests of a source's content at an earlier time.
struct SourceDigests {
  CheckpointDigests checkpoint;
  /// Digests of the compact tensors of an expanded checkpoint (compact_attention.h).
  std::optional<CheckpointDigests> compact;
};

/// Returns one SHA-256 over all of them.
std::string DigestOf(const SourceDigests& digests);

class SourceModel {
 public:
  /// Opens the folder and checks that every tensor of the family exists with the shape that config.json requires; reads
  /// no weights but, where config.json ties them and both are stored, embedding and output head. INVALID_ARGUMENT or
  /// NOT_FOUND names the key, the file or the tensor. With `expected`, whatever is read must be what was inspected;
  /// DATA_LOSS names the file or the tensor that changed.
  static absl::StatusOr<SourceModel> Open(const std::filesystem::path& folder, const SourceDigests* expected = nullptr,
                                          Compared compared = Compared::kViews);

  /// Returns the family of the language model.
  const Family& family() const { return *family_; }
  /// Returns the family of the checkpoint if the language model is a part of it; otherwise null.
  const Family* composite() const { return composite_; }
  /// Returns the name that a tensor of the family has in the folder's checkpoint.
  std::string NameInFolder(const std::string& name) const;
  const ModelConfig& config() const { return config_; }
  const CheckpointFolder& folder() const { return *folder_; }
  /// Returns the folder's tensors that the model consists of, each once, ordered by name. Others, such as the masks
  /// that some checkpoints store, count for nothing.
  const std::vector<TensorInfo>& own_tensors() const { return own_tensors_; }
  /// Returns the element type that most of the model's own weights have, which the result keeps.
  at::ScalarType dtype() const;
  /// Returns the number of elements of the model's own tensors, without those that are a buffer in Transformers
  /// (Packing::kRow).
  int64_t ParameterCount() const;
  /// Returns the tensors of a composite's other parts.
  const std::vector<TensorInfo>& other_tensors() const { return other_tensors_; }
  /// Returns the tables of positions that the folder stores although the model computes them, under the family's names.
  absl::StatusOr<std::vector<std::pair<std::string, at::Tensor>>> ComputedPositions() const;
  /// Returns what was decided about the folder's tensors, one sentence each, for people who inspect it.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Returns true if config.json ties output head and embedding, but the tensors differ (tied_embeddings.h).
  bool UntiedByTensors() const { return tied_by_config_ && !config_.tied_embeddings; }

  /// Reads all bytes of the folder's tensors.
  SourceDigests Digests() const;

  /// Returns the weights of one layer as stored in the file (memory-mapped, read-only).
  absl::StatusOr<Block> MapBlock(int64_t layer) const;
  /// Does the same for the attention alone; the other slots stay undefined.
  absl::StatusOr<Block> MapAttention(int64_t layer) const;
  /// Returns the whole model as copies in `dtype` on `device`.
  absl::StatusOr<Model> Load(at::ScalarType dtype, at::Device device) const;
  /// Returns all slots of the model, memory-mapped.
  absl::StatusOr<Model> Map() const;
  /// Does the same without any blocks.
  absl::StatusOr<Model> MapOuter() const;

 private:
  SourceModel() = default;
  /// Reads config.json.
  absl::Status ReadConfig();
  /// Finds out whether the folder has experts in tensors of their own.
  void ChooseNames();
  absl::Status OpenCompact(const SourceDigests* expected, Compared compared);
  absl::Status FindEmbeddingTensors();
  absl::Status CheckTensors();
  absl::Status CheckTensor(const std::string& ours) const;
  /// Returns Family::embedding_copies under the names that the folder has for them.
  std::vector<std::string> EmbeddingCopies() const;
  absl::Status CheckComputedPositions() const;
  /// Adds a note on the tensors that the model does not have, of all but `own`.
  void NoteUnusedTensors(const std::set<std::string>& own);
  /// Returns an undefined tensor if a model of this configuration does not have the parameter.
  absl::StatusOr<at::Tensor> MapParameter(const std::string& ours) const;
  class FirstError;
  /// Returns a visitor that fills every slot it visits; `error` must outlive it.
  ParameterVisitor MapInto(FirstError& error) const;
  absl::Status MapHeadOrder(Block& block, int64_t layer) const;
  /// Maps the parameters for which `has` is true, and the order of the heads.
  absl::StatusOr<Block> MapPartOfBlock(int64_t layer, bool (*has)(const std::string& parameter)) const;
  /// Returns true if the parameter is in the compact tensors of an expanded checkpoint.
  bool IsCompact(std::string_view ours) const;
  /// Returns PlaceOf with the name that the tensor has in this folder.
  std::optional<ParameterPlace> FamilyPlace(std::string_view ours) const;
  /// Returns nullopt for parameters that a model of this configuration does not have.
  std::optional<ParameterPlace> Place(std::string_view ours) const;
  /// Returns the name under which the folder has the tensor: with or without the name of the bare model in front.
  std::string StoredName(const ParameterPlace& place) const;
  /// Returns all names under which the folder has the tensor.
  std::vector<std::string> StoredNames(const ParameterPlace& place) const;
  void ListOwnTensors();

  std::shared_ptr<const CheckpointFolder> folder_;
  /// Attention of an expanded checkpoint (see compact_attention.h) under Regroup's names, or null.
  std::shared_ptr<const CheckpointFolder> compact_;
  /// Name of the bare model within the family's class, such as "model."; may be empty.
  std::string base_name_;
  std::vector<TensorInfo> own_tensors_;
  std::vector<TensorInfo> other_tensors_;
  int64_t buffer_elements_ = 0;
  const Family* family_ = nullptr;
  /// The family with the names that this folder has.
  std::shared_ptr<const Family> stored_;
  const Family* composite_ = nullptr;
  /// A composite's tensors are named as Transformers 4 does.
  bool has_old_names_ = false;
  ModelConfig config_;
  EmbeddingTensors embeddings_;
  bool tied_by_config_ = false;
  std::vector<std::string> notes_;
};

/// Returns the shape of a parameter in a model of this configuration, [out, in] or [width].
std::vector<int64_t> ExpectedShape(const ModelConfig& config, std::string_view ours);

}  // namespace regroup
