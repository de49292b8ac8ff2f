// Builds a family's list of names with one call per projection or norm instead of one per tensor.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/families/family.h"

namespace regroup {

/// Tells whether a projection has a bias. The last ones leave it to a boolean of config.json, whose name KeyOf returns.
enum class Bias { kNone, kAlways, kByAttentionBias, kByMlpBias, kByUseQkvBias, kByQkvBias, kByEnableBias };

/// Returns "attention_bias" for kByAttentionBias and so on; "" for kNone and kAlways.
std::string_view KeyOf(Bias bias);

class NameRules {
 public:
  NameRules& Tensor(std::string_view ours, std::string_view checkpoint);
  /// Adds `<ours>.weight`, and `<ours>.bias` depending on `bias`.
  NameRules& Linear(std::string_view ours, std::string_view checkpoint, Bias bias = Bias::kAlways,
                    Packing packing = Packing::kPlain);
  NameRules& RmsNorm(std::string_view ours, std::string_view checkpoint);
  NameRules& LayerNorm(std::string_view ours, std::string_view checkpoint);
  /// Adds query, key and value of a layer as one tensor, and their biases as another.
  NameRules& FusedAttention(std::string_view checkpoint, Bias bias, Packing packing);
  /// Adds the weights of several projections as one tensor, in its order.
  NameRules& Fused(std::initializer_list<std::string_view> ours, std::string_view checkpoint, Packing packing);
  /// Adds `<ours>.weight` of layers with (or without) experts.
  NameRules& OfExperts(std::string_view ours, std::string_view checkpoint, bool experts = true);
  /// Adds a tensor of the feed-forward that exists only in gated (or only in plain) ones.
  NameRules& FeedForwardTensor(std::string_view ours, std::string_view checkpoint, bool gated);
  /// Removes the rules whose Regroup name contains `part`.
  NameRules& Without(std::string_view part);

  std::vector<NameRule> rules() const { return rules_; }

 private:
  std::vector<NameRule> rules_;
};

}  // namespace regroup
