#include "trainer/stages/load_conversion.h"

#include <fmt/format.h>

#include <map>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/head_budget.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/artifacts.h"

namespace regroup {
namespace {

absl::StatusOr<LayerAlignment> LoadLayer(const ModelConfig& config, const std::filesystem::path& file, int64_t layer) {
  REGROUP_ASSIGN_OR_RETURN(const TensorMap tensors, LoadTensors(file));
  return LayerAlignment::FromTensors(AttentionShapeOf(config, layer), tensors);
}

absl::StatusOr<std::vector<LayerAlignment>> LoadAlignments(const StageContext& context, const ModelConfig& config,
                                                           const std::string& prefix) {
  std::vector<LayerAlignment> alignments;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, context.Input(prefix + AlignRole(layer)));
    REGROUP_ASSIGN_OR_RETURN(LayerAlignment alignment, LoadLayer(config, folder / artifacts::kAlignment, layer));
    alignments.push_back(std::move(alignment));
  }
  return alignments;
}

/// Returns the alignments with the least loss for `mean_heads` per layer, if layers may get different numbers of KV
/// heads.
absl::StatusOr<std::vector<LayerAlignment>> LoadSpentHeads(const StageContext& context, const ModelConfig& config,
                                                           const std::string& prefix, int64_t mean_heads) {
  std::vector<std::map<int64_t, LayerAlignment>> ready(config.layers);
  std::vector<LossOfHeads> losses(config.layers);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, context.Input(prefix + AlignRole(layer)));
    for (const int64_t heads : DivisorsOf(config.KvHeads(layer))) {
      REGROUP_ASSIGN_OR_RETURN(LayerAlignment alignment,
                               LoadLayer(config, folder / artifacts::AlignmentWith(heads), layer));
      losses[layer][heads] = alignment.residual_key + alignment.residual_value;
      ready[layer].emplace(heads, std::move(alignment));
    }
  }
  REGROUP_ASSIGN_OR_RETURN(const std::vector<int64_t> heads, SpendHeads(losses, mean_heads * config.layers));
  std::vector<LayerAlignment> alignments;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    alignments.push_back(std::move(ready[layer].at(heads[layer])));
  }
  return alignments;
}

/// Returns the folder of the layerwise task whose block begins with this layer, if there is one.
std::optional<std::filesystem::path> BlockThatBeginsWith(const StageContext& context, const std::string& prefix,
                                                         int64_t layer) {
  const auto found = context.assignment.inputs().find(prefix + LayerwiseRole(layer));
  if (found == context.assignment.inputs().end()) return std::nullopt;
  return context.work_folder / found->second;
}

/// Adds the trained attention of every layer, if the job trained its layers one by one.
absl::Status AddTrainedLayers(const StageContext& context, const ModelConfig& config, const std::string& prefix,
                              Conversion& conversion) {
  std::optional<std::filesystem::path> folder;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (auto next = BlockThatBeginsWith(context, prefix, layer)) folder = std::move(next);
    if (!folder.has_value()) return absl::OkStatus();
    REGROUP_ASSIGN_OR_RETURN(TensorMap tensors, LoadTensors(*folder / artifacts::TrainedAttention(layer)));
    conversion.SetTrained(layer, {tensors.begin(), tensors.end()});
  }
  return absl::OkStatus();
}

/// Returns an empty list if the job does not refine.
absl::StatusOr<std::vector<at::Tensor>> LoadRefinedOutputs(const StageContext& context, const ModelConfig& config,
                                                           const std::string& prefix) {
  const std::string role = prefix + kRefineRole;
  if (!context.assignment.inputs().contains(role)) return std::vector<at::Tensor>();
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, context.Input(role));
  REGROUP_ASSIGN_OR_RETURN(const TensorMap refined, LoadTensors(folder / artifacts::kRefinedOutputs));
  std::vector<at::Tensor> outputs;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string name = artifacts::RefinedOutputTensor(layer);
    const auto found = refined.find(name);
    if (found == refined.end()) return absl::DataLossError(fmt::format("{} has no tensor '{}'", folder.string(), name));
    outputs.push_back(found->second);
  }
  return outputs;
}

}  // namespace

absl::StatusOr<Conversion> LoadConversion(const StageContext& context, const ModelConfig& config,
                                          const std::string& prefix, std::optional<int64_t> kv_heads) {
  const int64_t mean_heads = kv_heads.value_or(context.assignment.arm().kv_heads());
  REGROUP_ASSIGN_OR_RETURN(std::vector<LayerAlignment> alignments,
                           SpendsHeadsPerLayer(context.spec()) ? LoadSpentHeads(context, config, prefix, mean_heads)
                                                               : LoadAlignments(context, config, prefix));
  Conversion conversion(config, std::move(alignments));
  REGROUP_RETURN_IF_ERROR(AddTrainedLayers(context, config, prefix, conversion));
  REGROUP_ASSIGN_OR_RETURN(std::vector<at::Tensor> outputs, LoadRefinedOutputs(context, config, prefix));
  if (!outputs.empty()) conversion.SetOutputs(std::move(outputs));
  return conversion;
}

}  // namespace regroup
