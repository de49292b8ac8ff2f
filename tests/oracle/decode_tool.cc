// Decodes greedily with the KV cache, for an oracle to compare with.
// usage: decode_tool <model folder> <prompts.json: [[ids], ...]> <new tokens>       prints [[ids], ...]
//
// Prompts may differ in length; each is decoded alone.
#include <ATen/ATen.h>

#include <cstdlib>
#include <iostream>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/eval/decoder.h"
#include "trainer/model_folder/source_model.h"

namespace regroup {
namespace {

absl::Status Run(const std::filesystem::path& folder, const std::filesystem::path& prompts, int64_t new_tokens) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(prompts));
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(folder));
  REGROUP_ASSIGN_OR_RETURN(Model model, source.Load(at::kFloat, at::kCPU));
  PackForDecoding(model);
  nlohmann::json continuations = nlohmann::json::array();
  for (const nlohmann::json& prompt : nlohmann::json::parse(text)) {
    const at::Tensor ids = at::tensor(prompt.get<std::vector<int64_t>>(), at::kLong);
    const at::Tensor decoded = DecodeGreedily(model, ids.unsqueeze(0), new_tokens)[0].contiguous();
    const int64_t* const first = decoded.const_data_ptr<int64_t>();
    continuations.push_back(std::vector<int64_t>(first, first + decoded.numel()));
  }
  std::cout << continuations.dump() << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const absl::Status status = regroup::Run(argv[1], argv[2], std::atoll(argv[3]));
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
