// The `expanded` layout: for model classes without a field for KV heads, or with unequal numbers of them, each shared
// head is written once for every query head that reads it, and the query heads keep the source's order, so that
// Transformers loads the result as it is. The attention with shared heads written once lies beside it, in the folder
// regroup/compact under our own names, for evaluation and for engines that can use it.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "trainer/nn/model.h"

namespace regroup {

/// Inside a checkpoint folder.
inline constexpr char kCompactFolder[] = "regroup/compact";

/// Whether a checkpoint's config.json says that its layout is `expanded`.
bool IsExpanded(const nlohmann::json& config);

/// {"kv_heads": n} or {"kv_heads": [n of each layer]}, the config.json of the compact folder.
nlohmann::json CompactConfig(const ModelConfig& config);

/// Takes CompactConfig back into `config`.
absl::Status ReadCompactConfig(const nlohmann::json& json, ModelConfig& config);

/// Name of AttentionProjections::head_order in the compact folder.
std::string HeadOrderName(int64_t layer);

/// The block with a KV head for every one of `heads` query heads, in the source's order.
Block ExpandAttention(Block block, int64_t heads);

}  // namespace regroup
