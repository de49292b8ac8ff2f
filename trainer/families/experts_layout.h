// Layout of mixtures of experts with LLaMA's attention.
#pragma once

#include <string_view>
#include <vector>

#include "trainer/families/llama_layout.h"

namespace regroup {

/// The number of experts under the names of a class with Qwen's keys, and its defaults.
struct ExpertsDefaults {
  std::vector<std::string_view> names;
  int64_t count = 0, per_token = 0, width = 0;
};

/// Returns the number of experts under the first of these names that is there; in Transformers it overrides the others.
int64_t ReadExpertCount(ConfigReader& reader, const std::vector<std::string_view>& names, int64_t otherwise);

/// Reads the number of experts, num_experts_per_tok, moe_intermediate_size and norm_topk_prob, and which layers have
/// experts: every decoder_sparse_step-th but those in mlp_only_layers.
void ReadExperts(ConfigReader& reader, ModelConfig& config, const ExpertsDefaults& defaults);

/// Fails if more experts are chosen for a token than there are.
void CheckExperts(ConfigReader& reader, const ModelConfig& config);

/// Replaces the feed-forward of layers with experts by "mlp.experts.{}" and the router "mlp.gate".
NameRules WithExperts(NameRules rules);

/// Returns Family::stacked_experts: "mlp.experts.gate_up_proj" and "mlp.experts.down_proj" as Transformers 5 holds
/// them.
std::vector<NameRule> StackedExperts();

}  // namespace regroup
