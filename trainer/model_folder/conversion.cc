#include "trainer/model_folder/conversion.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/model_folder/convert_block.h"

namespace regroup {

absl::StatusOr<Conversion> Conversion::Average(const ModelConfig& config, int64_t kv_heads) {
  std::vector<LayerAlignment> averages;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(LayerAlignment average, AverageNeighbours(AttentionShapeOf(config, layer), kv_heads));
    averages.push_back(std::move(average));
  }
  return Conversion(config, std::move(averages));
}

ModelConfig Conversion::MergedConfig() const { return ConfigWith(&LayerAlignment::GroupCount); }

ModelConfig Conversion::AlignedConfig() const { return ConfigWith(&LayerAlignment::HeadCount); }

ModelConfig Conversion::ConfigWith(int64_t (LayerAlignment::*count)() const) const {
  ModelConfig config = source_config_;
  std::vector<int64_t> heads;
  for (const LayerAlignment& alignment : alignments_) heads.push_back((alignment.*count)());
  config.kv_heads = *std::max_element(heads.begin(), heads.end());
  const bool equal =
      std::all_of(heads.begin(), heads.end(), [&](int64_t of_layer) { return of_layer == config.kv_heads; });
  config.kv_heads_of_layers = equal ? std::vector<int64_t>() : heads;
  return config;
}

namespace {

/// Replaces the tensors of the block that are listed, in its own type and on its own device.
absl::Status Replace(Block& block, int64_t layer, const std::map<std::string, at::Tensor>& tensors) {
  std::string wrong;
  size_t used = 0;
  VisitBlock(block, layer, [&](const std::string& name, at::Tensor& tensor) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return;
    ++used;
    if (!tensor.defined() || tensor.sizes() != found->second.sizes()) {
      wrong = name;
    } else {
      tensor = found->second.to(tensor.options());
    }
  });
  if (wrong.empty() && used == tensors.size()) return absl::OkStatus();
  return absl::DataLossError(wrong.empty() ? fmt::format("layer {}: a trained tensor has an unknown name", layer)
                                           : fmt::format("the trained tensor '{}' does not fit its layer", wrong));
}

}  // namespace

absl::Status Conversion::Merge(Block& block, int64_t layer) const {
  REGROUP_RETURN_IF_ERROR(MergeBlock(block, source_config_, layer, alignments_[layer]));
  if (const auto trained = trained_.find(layer); trained != trained_.end()) {
    REGROUP_RETURN_IF_ERROR(Replace(block, layer, trained->second));
  }
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
