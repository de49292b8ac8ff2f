// Writes the trainer's own logits, for an oracle to compare with.
// usage: logits_tool <model folder> <tokens.json: [[ids], ...]> <output.safetensors> [alignment.safetensors]
// With an alignment (regroup/alignment.safetensors of a result), the model's heads are aligned first, none merged.
//
// usage: logits_tool --each <tokens.json> < model folders, one per line
// Writes logits.safetensors into every folder, or refusal.txt with the reason why the folder cannot be opened.
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

absl::Status SaveLogits(const Model& model, const at::Tensor& tokens, const std::filesystem::path& output) {
  return SaveTensors(output, {{"logits", RunOutputProjection(model, RunHiddenStates(model, tokens))}});
}

absl::Status Run(const std::filesystem::path& folder, const std::filesystem::path& tokens_file,
                 const std::filesystem::path& output, const std::filesystem::path& alignment) {
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor tokens, ReadTokens(tokens_file));
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(folder));
  REGROUP_ASSIGN_OR_RETURN(Model model, source.Load(at::kFloat, at::kCPU));
  if (!alignment.empty()) REGROUP_RETURN_IF_ERROR(AlignHeads(model, alignment));
  return SaveLogits(model, tokens, output);
}

absl::Status RunEach(const std::filesystem::path& tokens_file) {
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor tokens, ReadTokens(tokens_file));
  for (std::string line; std::getline(std::cin, line);) {
    const std::filesystem::path folder = line;
    const absl::StatusOr<SourceModel> source = SourceModel::Open(folder);
    if (!source.ok()) {
      REGROUP_RETURN_IF_ERROR(WriteFileAtomically(folder / "refusal.txt", std::string(source.status().message())));
      continue;
    }
    REGROUP_ASSIGN_OR_RETURN(const Model model, source->Load(at::kFloat, at::kCPU));
    REGROUP_RETURN_IF_ERROR(SaveLogits(model, tokens, folder / "logits.safetensors"));
  }
  return absl::OkStatus();
}

absl::Status RunCommand(const std::vector<std::string>& arguments) {
  at::NoGradGuard no_gradients;
  if (arguments.size() == 2 && arguments[0] == "--each") return RunEach(arguments[1]);
  if (arguments.size() == 3) return Run(arguments[0], arguments[1], arguments[2], "");
  if (arguments.size() == 4) return Run(arguments[0], arguments[1], arguments[2], arguments[3]);
  return absl::InvalidArgumentError("wrong arguments; the usage stands at the top of logits_tool.cc");
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  const absl::Status status = regroup::RunCommand({argv + 1, argv + argc});
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
