// Describes how the source's layers become merged ones: the alignment of every layer and, after `refine`, its refitted
// output projection. Plain value; any thread may read.
#pragma once

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/model_folder/source_model.h"

namespace regroup {

class Conversion {
 public:
  Conversion() = default;
  /// `alignments` has one entry per layer. `outputs` has the refitted output projections [hidden, heads x width], one
  /// per layer; it is empty without refine.
  Conversion(ModelConfig source_config, std::vector<LayerAlignment> alignments, std::vector<at::Tensor> outputs = {})
      : source_config_(std::move(source_config)), alignments_(std::move(alignments)), outputs_(std::move(outputs)) {}

  /// Averages neighbouring heads without any alignment.
  static absl::StatusOr<Conversion> Average(const ModelConfig& config, int64_t kv_heads);

  /// Replaces the attention of a source block by the merged one.
  absl::Status Merge(Block& block, int64_t layer) const;

  const std::vector<LayerAlignment>& alignments() const { return alignments_; }
  /// Returns the source's configuration with the KV heads of the merged layers.
  ModelConfig MergedConfig() const;

 private:
  ModelConfig source_config_;
  std::vector<LayerAlignment> alignments_;
  std::vector<at::Tensor> outputs_;
};

/// Returns the model with one shared head per group.
absl::StatusOr<Model> LoadMerged(const SourceModel& source, const Conversion& conversion, at::ScalarType dtype,
                                 at::Device device);

}  // namespace regroup
