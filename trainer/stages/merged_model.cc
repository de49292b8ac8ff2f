#include "trainer/stages/merged_model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "services/base/status_macros.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/stages/convert_block.h"
#include "trainer/stages/tensor_file.h"

namespace regroup {

absl::StatusOr<std::vector<LayerAlignment>> LoadAlignments(const StageContext& context, const ModelConfig& config,
                                                           const std::string& prefix) {
  std::vector<LayerAlignment> alignments;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder,
                             context.Input(fmt::format("{}align/{}", prefix, layer)));
    REGROUP_ASSIGN_OR_RETURN(const TensorMap tensors, LoadTensors(folder / "alignment.safetensors"));
    REGROUP_ASSIGN_OR_RETURN(LayerAlignment alignment, LayerAlignment::FromTensors(AttentionShapeOf(config), tensors));
    alignments.push_back(std::move(alignment));
  }
  return alignments;
}

absl::StatusOr<std::vector<LayerAlignment>> AverageAll(const ModelConfig& config, int64_t kv_heads) {
  REGROUP_ASSIGN_OR_RETURN(const LayerAlignment average, AverageNeighbours(AttentionShapeOf(config), kv_heads));
  return std::vector<LayerAlignment>(config.layers, average);
}

absl::StatusOr<Model> LoadMerged(const SourceModel& source, const std::vector<LayerAlignment>& alignments,
                                 at::ScalarType dtype, at::Device device) {
  REGROUP_ASSIGN_OR_RETURN(Model model, source.Map());
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    REGROUP_RETURN_IF_ERROR(MergeBlock(model.blocks[layer], source.config(), alignments[layer]));
  }
  model.config.kv_heads = alignments.front().GroupCount();
  return CloneModel(model, dtype, device);
}

}  // namespace regroup
