// How the source's layers become merged ones: the alignment of every layer and, after `refine`, its refitted output
// projection. Plain value; any thread may read.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/stages/stage.h"

namespace regroup {

class Conversion {
 public:
  /// From the inputs "<prefix>align/<layer>" and, where there is one, "<prefix>refine".
  static absl::StatusOr<Conversion> Load(const StageContext& context, const ModelConfig& config,
                                         const std::string& prefix = "");

  /// Neighbouring heads averaged without any alignment.
  static absl::StatusOr<Conversion> Average(const ModelConfig& config, int64_t kv_heads);

  /// Replaces the attention of a source block by the merged one.
  absl::Status Merge(Block& block, int64_t layer) const;

  const std::vector<LayerAlignment>& alignments() const { return alignments_; }
  /// The source's configuration with the KV heads of the merged layers.
  ModelConfig MergedConfig() const;

 private:
  ModelConfig source_config_;
  std::vector<LayerAlignment> alignments_;
  /// Refitted output projections [hidden, heads x width], one per layer; empty without refine.
  std::vector<at::Tensor> outputs_;
};

/// The model with one shared head per group.
absl::StatusOr<Model> LoadMerged(const SourceModel& source, const Conversion& conversion, at::ScalarType dtype,
                                 at::Device device);

/// Name of a layer's output projection in the file that refine writes.
std::string RefinedOutputName(int64_t layer);

}  // namespace regroup
