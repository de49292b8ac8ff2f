// Writes down a family's names briefly: a projection or a norm in one line instead of one line a tensor.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trainer/families/family.h"

namespace regroup {

enum class Bias { kNone, kAlways, kInSome };

class NameRules {
 public:
  NameRules& Tensor(std::string_view ours, std::string_view checkpoint);
  /// `<ours>.weight`, and `<ours>.bias` where `bias` says so.
  NameRules& Linear(std::string_view ours, std::string_view checkpoint, Bias bias = Bias::kAlways,
                    Packing packing = Packing::kPlain);
  NameRules& RmsNorm(std::string_view ours, std::string_view checkpoint);
  NameRules& LayerNorm(std::string_view ours, std::string_view checkpoint);
  /// Query, key and value of a layer in one tensor, and their biases in another.
  NameRules& FusedAttention(std::string_view checkpoint, Bias bias, Packing packing);
  /// One tensor of a feed-forward that is there in gated (or in plain) ones only.
  NameRules& FeedForwardTensor(std::string_view ours, std::string_view checkpoint, bool gated);
  /// Every rule but those whose name of ours has `part` in it.
  NameRules& Without(std::string_view part);

  std::vector<NameRule> rules() const { return rules_; }

 private:
  std::vector<NameRule> rules_;
};

}  // namespace regroup
