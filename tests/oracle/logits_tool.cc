// Writes the trainer's own logits, for an oracle to compare with.
// usage: logits_tool <model folder> <tokens.json: [[ids], ...]> <output.safetensors> [alignment.safetensors]
// With an alignment (regroup/alignment.safetensors of a result), the model's heads are aligned first, none merged.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <iostream>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

absl::StatusOr<at::Tensor> ReadTokens(const std::filesystem::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  std::vector<at::Tensor> rows;
  for (const nlohmann::json& row : nlohmann::json::parse(text)) {
    rows.push_back(at::tensor(row.get<std::vector<int64_t>>(), at::kLong));
  }
  return at::stack(rows);
}

/// The tensors of one layer, without the layer in their names.
TensorMap LayerTensors(const TensorMap& all, int64_t layer) {
  const std::string prefix = fmt::format("layers.{}.", layer);
  TensorMap tensors;
  for (const auto& [name, tensor] : all) {
    if (name.starts_with(prefix)) tensors.emplace(name.substr(prefix.size()), tensor);
  }
  return tensors;
}

absl::Status AlignHeads(Model& model, const std::filesystem::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const TensorMap all, LoadTensors(file));
  for (int64_t layer = 0; layer < model.config.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(
        const LayerAlignment alignment,
        LayerAlignment::FromTensors(AttentionShapeOf(model.config, layer), LayerTensors(all, layer)));
    REGROUP_RETURN_IF_ERROR(AlignBlock(model.blocks[layer], model.config, layer, alignment));
  }
  return absl::OkStatus();
}

absl::Status Run(const std::filesystem::path& folder, const std::filesystem::path& tokens_file,
                 const std::filesystem::path& output, const std::filesystem::path& alignment) {
  at::NoGradGuard no_gradients;
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor tokens, ReadTokens(tokens_file));
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(folder));
  REGROUP_ASSIGN_OR_RETURN(Model model, source.Load(at::kFloat, at::kCPU));
  if (!alignment.empty()) REGROUP_RETURN_IF_ERROR(AlignHeads(model, alignment));
  return SaveTensors(output, {{"logits", RunOutputProjection(model, RunHiddenStates(model, tokens))}});
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 2;
  const absl::Status status = regroup::Run(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "");
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
