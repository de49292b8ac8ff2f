#include "trainer/stages/conversion.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "services/base/status_macros.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/stages/convert_block.h"
#include "trainer/stages/tensor_file.h"

namespace regroup {

std::string RefinedOutputName(int64_t layer) { return fmt::format("layers.{}.attention.output.weight", layer); }

absl::StatusOr<Conversion> Conversion::Load(const StageContext& context, const ModelConfig& config,
                                            const std::string& prefix) {
  Conversion conversion;
  conversion.source_config_ = config;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder,
                             context.Input(fmt::format("{}align/{}", prefix, layer)));
    REGROUP_ASSIGN_OR_RETURN(const TensorMap tensors, LoadTensors(folder / "alignment.safetensors"));
    REGROUP_ASSIGN_OR_RETURN(LayerAlignment alignment,
                             LayerAlignment::FromTensors(AttentionShapeOf(config, layer), tensors));
    conversion.alignments_.push_back(std::move(alignment));
  }
  if (!context.assignment.inputs().contains(prefix + "refine")) return conversion;
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, context.Input(prefix + "refine"));
  REGROUP_ASSIGN_OR_RETURN(const TensorMap refined, LoadTensors(folder / "outputs.safetensors"));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto found = refined.find(RefinedOutputName(layer));
    if (found == refined.end()) {
      return absl::DataLossError(fmt::format("{}: no tensor '{}'", folder.string(), RefinedOutputName(layer)));
    }
    conversion.outputs_.push_back(found->second);
  }
  return conversion;
}

absl::StatusOr<Conversion> Conversion::Average(const ModelConfig& config, int64_t kv_heads) {
  Conversion conversion;
  conversion.source_config_ = config;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(LayerAlignment average, AverageNeighbours(AttentionShapeOf(config, layer), kv_heads));
    conversion.alignments_.push_back(std::move(average));
  }
  return conversion;
}

ModelConfig Conversion::MergedConfig() const {
  ModelConfig config = source_config_;
  std::vector<int64_t> heads;
  for (const LayerAlignment& alignment : alignments_) heads.push_back(alignment.GroupCount());
  config.kv_heads = *std::max_element(heads.begin(), heads.end());
  const bool equal = std::all_of(heads.begin(), heads.end(), [&](int64_t count) { return count == config.kv_heads; });
  config.kv_heads_of_layers = equal ? std::vector<int64_t>() : heads;
  return config;
}

absl::Status Conversion::Merge(Block& block, int64_t layer) const {
  REGROUP_RETURN_IF_ERROR(MergeBlock(block, source_config_, layer, alignments_[layer]));
  if (!outputs_.empty()) block.attention.output.weight = outputs_[layer].to(block.attention.output.weight.options());
  return absl::OkStatus();
}

absl::StatusOr<Model> LoadMerged(const SourceModel& source, const Conversion& conversion, at::ScalarType dtype,
                                 at::Device device) {
  REGROUP_ASSIGN_OR_RETURN(Model model, source.Map());
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    REGROUP_RETURN_IF_ERROR(conversion.Merge(model.blocks[layer], static_cast<int64_t>(layer)));
  }
  model.config = conversion.MergedConfig();
  return CloneModel(model, dtype, device);
}

}  // namespace regroup
