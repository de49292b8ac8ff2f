// The source model with its heads merged as the align tasks found.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// The results of the arm's align tasks, one per layer, from the inputs "<prefix>align/<layer>".
absl::StatusOr<std::vector<LayerAlignment>> LoadAlignments(const StageContext& context, const ModelConfig& config,
                                                           const std::string& prefix = "");

/// Neighbouring heads averaged without any alignment.
absl::StatusOr<std::vector<LayerAlignment>> AverageAll(const ModelConfig& config, int64_t kv_heads);

/// The model with one shared head per group.
absl::StatusOr<Model> LoadMerged(const SourceModel& source, const std::vector<LayerAlignment>& alignments,
                                 at::ScalarType dtype, at::Device device);

}  // namespace regroup
