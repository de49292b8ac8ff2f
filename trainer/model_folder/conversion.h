// How the source's layers become merged ones: the alignment of every layer and, after `refine`, its refitted output
// projection. Plain value; any thread may read.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/stages/stage.h"

namespace regroup {

class Conversion {
 public:
  /// From the inputs "<prefix>align/<layer>" and, where there is one, "<prefix>refine". `kv_heads`: of the arm with
  /// this prefix, where it is not the task's own.
  static absl::StatusOr<Conversion> Load(const StageContext& context, const ModelConfig& config,
                                         const std::string& prefix = "", std::optional<int64_t> kv_heads = {});

  /// Neighbouring heads averaged without any alignment.
  static absl::StatusOr<Conversion> Average(const ModelConfig& config, int64_t kv_heads);

  /// Replaces the attention of a source block by the merged one.
  absl::Status Merge(Block& block, int64_t layer) const;

  const std::vector<LayerAlignment>& alignments() const { return alignments_; }
  /// The source's configuration with the KV heads of the merged layers.
  ModelConfig MergedConfig() const;

 private:
  absl::Status LoadAlignments(const StageContext& context, const std::string& prefix);
  absl::Status LoadSpentHeads(const StageContext& context, const std::string& prefix, int64_t mean_heads);
  absl::StatusOr<LayerAlignment> LoadLayer(const std::filesystem::path& file, int64_t layer) const;

  ModelConfig source_config_;
  std::vector<LayerAlignment> alignments_;
  /// Refitted output projections [hidden, heads x width], one per layer; empty without refine.
  std::vector<at::Tensor> outputs_;
};

/// The model with one shared head per group.
absl::StatusOr<Model> LoadMerged(const SourceModel& source, const Conversion& conversion, at::ScalarType dtype,
                                 at::Device device);

/// What an align task writes: the alignment of its layer, or with unequal budgets that of each number of KV heads.
std::string AlignmentFile();
std::string AlignmentFile(int64_t kv_heads);

/// Name of a layer's output projection in the file that refine writes.
std::string RefinedOutputName(int64_t layer);

}  // namespace regroup
