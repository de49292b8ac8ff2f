// Writes the trainer's own logits, for an oracle to compare with.
// usage: logits_tool <model folder> <tokens.json: [[ids], ...]> <output.safetensors>
#include <ATen/ATen.h>

#include <iostream>

#include <nlohmann/json.hpp>

#include "services/base/files.h"
#include "services/base/status_macros.h"
#include "trainer/nn/transformer.h"
#include "trainer/stages/source_model.h"
#include "trainer/stages/tensor_file.h"

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

absl::Status Run(const std::filesystem::path& folder, const std::filesystem::path& tokens_file,
                 const std::filesystem::path& output) {
  at::NoGradGuard no_gradients;
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor tokens, ReadTokens(tokens_file));
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(folder));
  REGROUP_ASSIGN_OR_RETURN(const Model model, source.Load(at::kFloat, at::kCPU));
  return SaveTensors(output, {{"logits", RunOutputProjection(model, RunHiddenStates(model, tokens))}});
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const absl::Status status = regroup::Run(argv[1], argv[2], argv[3]);
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
