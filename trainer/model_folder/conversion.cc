#include "trainer/model_folder/conversion.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/alignment/head_budget.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/plan/settings.h"
#include "trainer/model_folder/tensor_file.h"

namespace regroup {

std::string RefinedOutputName(int64_t layer) { return fmt::format("layers.{}.attention.output.weight", layer); }

std::string AlignmentFile() { return "alignment.safetensors"; }

std::string AlignmentFile(int64_t kv_heads) { return fmt::format("alignment-{}.safetensors", kv_heads); }

absl::StatusOr<LayerAlignment> Conversion::LoadLayer(const std::filesystem::path& file, int64_t layer) const {
  REGROUP_ASSIGN_OR_RETURN(const TensorMap tensors, LoadTensors(file));
  return LayerAlignment::FromTensors(AttentionShapeOf(source_config_, layer), tensors);
}

absl::Status Conversion::LoadAlignments(const StageContext& context, const std::string& prefix) {
  for (int64_t layer = 0; layer < source_config_.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder,
                             context.Input(fmt::format("{}align/{}", prefix, layer)));
    REGROUP_ASSIGN_OR_RETURN(LayerAlignment alignment, LoadLayer(folder / AlignmentFile(), layer));
    alignments_.push_back(std::move(alignment));
  }
  return absl::OkStatus();
}

absl::Status Conversion::LoadSpentHeads(const StageContext& context, const std::string& prefix, int64_t mean_heads) {
  std::vector<std::map<int64_t, LayerAlignment>> ready(source_config_.layers);
  std::vector<LossOfHeads> losses(source_config_.layers);
  for (int64_t layer = 0; layer < source_config_.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder,
                             context.Input(fmt::format("{}align/{}", prefix, layer)));
    for (const int64_t heads : DivisorsOf(source_config_.KvHeads(layer))) {
      REGROUP_ASSIGN_OR_RETURN(LayerAlignment alignment, LoadLayer(folder / AlignmentFile(heads), layer));
      losses[layer][heads] = alignment.residual_key + alignment.residual_value;
      ready[layer].emplace(heads, std::move(alignment));
    }
  }
  REGROUP_ASSIGN_OR_RETURN(const std::vector<int64_t> heads, SpendHeads(losses, mean_heads * source_config_.layers));
  for (int64_t layer = 0; layer < source_config_.layers; ++layer) {
    alignments_.push_back(std::move(ready[layer].at(heads[layer])));
  }
  return absl::OkStatus();
}

absl::StatusOr<Conversion> Conversion::Load(const StageContext& context, const ModelConfig& config,
                                            const std::string& prefix, std::optional<int64_t> kv_heads) {
  Conversion conversion;
  conversion.source_config_ = config;
  if (SpendsHeadsPerLayer(context.spec())) {
    const int64_t mean_heads = kv_heads.value_or(context.assignment.arm().kv_heads());
    REGROUP_RETURN_IF_ERROR(conversion.LoadSpentHeads(context, prefix, mean_heads));
  } else {
    REGROUP_RETURN_IF_ERROR(conversion.LoadAlignments(context, prefix));
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
