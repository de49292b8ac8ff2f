// Describes how the source's layers become merged ones: the alignment of every layer and, where they were trained or
// refitted afterwards, its attention after `layerwise` and its output projection after `refine`. Plain value; any
// thread may read.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/model_folder/source_model.h"

namespace regroup {

class Conversion {
 public:
  Conversion() = default;
  /// `alignments` has one entry per layer.
  Conversion(ModelConfig source_config, std::vector<LayerAlignment> alignments)
      : source_config_(std::move(source_config)), alignments_(std::move(alignments)) {}

  /// Sets tensors that replace those of the merged layer, by the names of VisitBlock.
  void SetTrained(int64_t layer, std::map<std::string, at::Tensor> tensors) { trained_[layer] = std::move(tensors); }
  /// Sets the refitted output projections [hidden, heads x width], one per layer.
  void SetOutputs(std::vector<at::Tensor> outputs) { outputs_ = std::move(outputs); }

  /// Averages neighbouring heads without any alignment.
  static absl::StatusOr<Conversion> Average(const ModelConfig& config, int64_t kv_heads);

  /// Replaces the attention of a source block by the merged one. DATA_LOSS if a trained tensor has another shape.
  absl::Status Merge(Block& block, int64_t layer) const;

  const std::vector<LayerAlignment>& alignments() const { return alignments_; }
  /// Returns the source's configuration with the KV heads of the merged layers.
  ModelConfig MergedConfig() const;
  /// Returns that with the KV heads which are in groups: the source's, split where the target does not divide them.
  ModelConfig AlignedConfig() const;

 private:
  ModelConfig ConfigWith(int64_t (LayerAlignment::*count)() const) const;

  ModelConfig source_config_;
  std::vector<LayerAlignment> alignments_;
  std::map<int64_t, std::map<std::string, at::Tensor>> trained_;
  std::vector<at::Tensor> outputs_;
};

/// Returns the model with one shared head per group.
absl::StatusOr<Model> LoadMerged(const SourceModel& source, const Conversion& conversion, at::ScalarType dtype,
                                 at::Device device);

}  // namespace regroup
