#include "trainer/families/name_rules.h"

#include <fmt/format.h>

namespace regroup {

std::string_view KeyOf(Bias bias) {
  switch (bias) {
    case Bias::kByAttentionBias:
      return "attention_bias";
    case Bias::kByMlpBias:
      return "mlp_bias";
    case Bias::kByUseQkvBias:
      return "use_qkv_bias";
    case Bias::kByQkvBias:
      return "qkv_bias";
    case Bias::kByEnableBias:
      return "enable_bias";
    case Bias::kNone:
    case Bias::kAlways:
      break;
  }
  return "";
}

NameRules& NameRules::Tensor(std::string_view ours, std::string_view checkpoint) {
  rules_.push_back({std::string(ours), std::string(checkpoint)});
  return *this;
}

NameRules& NameRules::Linear(std::string_view ours, std::string_view checkpoint, Bias bias, Packing packing) {
  rules_.push_back({fmt::format("{}.weight", ours), fmt::format("{}.weight", checkpoint), packing});
  if (bias != Bias::kNone) {
    rules_.push_back({fmt::format("{}.bias", ours), fmt::format("{}.bias", checkpoint), packing, KeyOf(bias)});
  }
  return *this;
}

NameRules& NameRules::RmsNorm(std::string_view ours, std::string_view checkpoint) {
  return Linear(ours, checkpoint, Bias::kNone);
}

NameRules& NameRules::LayerNorm(std::string_view ours, std::string_view checkpoint) {
  return Linear(ours, checkpoint, Bias::kAlways);
}

NameRules& NameRules::FusedAttention(std::string_view checkpoint, Bias bias, Packing packing) {
  for (const std::string_view kind : {"weight", "bias"}) {
    if (kind == "bias" && bias == Bias::kNone) continue;
    for (const std::string_view part : {"query", "key", "value"}) {
      rules_.push_back({fmt::format("layers.{{}}.attention.{}.{}", part, kind), fmt::format("{}.{}", checkpoint, kind),
                        packing, kind == "bias" ? KeyOf(bias) : ""});
    }
  }
  return *this;
}

NameRules& NameRules::Fused(std::initializer_list<std::string_view> ours, std::string_view checkpoint,
                            Packing packing) {
  for (const std::string_view part : ours) Linear(part, checkpoint, Bias::kNone, packing);
  return *this;
}

NameRules& NameRules::OfExperts(std::string_view ours, std::string_view checkpoint, bool experts) {
  rules_.push_back(
      {.ours = fmt::format("{}.weight", ours), .checkpoint = fmt::format("{}.weight", checkpoint), .experts = experts});
  return *this;
}

NameRules& NameRules::FeedForwardTensor(std::string_view ours, std::string_view checkpoint, bool gated) {
  rules_.push_back({.ours = std::string(ours), .checkpoint = std::string(checkpoint), .gated = gated});
  return *this;
}

NameRules& NameRules::Without(std::string_view part) {
  std::erase_if(rules_, [&](const NameRule& rule) { return rule.ours.find(part) != std::string::npos; });
  return *this;
}

}  // namespace regroup
