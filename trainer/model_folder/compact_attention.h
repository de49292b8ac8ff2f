// Implements the `expanded` layout, for model classes without a field for KV heads, or with different numbers of them
// per layer. Each shared head is written once for every query head that reads it, and the query heads keep the source's
// order, so that Transformers loads the result unchanged. The folder regroup/compact also holds the attention with each
// shared head written once, under Regroup's names, for evaluation and for engines that can use it.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "trainer/nn/model.h"

namespace regroup {

/// Path inside a checkpoint folder.
inline constexpr char kCompactFolder[] = "regroup/compact";

/// Returns true if a checkpoint's config.json says that its layout is `expanded`.
bool IsExpanded(const nlohmann::json& config);

/// Returns the config.json of the compact folder: {"kv_heads": n} or {"kv_heads": [n of each layer]}.
nlohmann::json CompactConfig(const ModelConfig& config);

/// Reads the result of CompactConfig back into `config`.
absl::Status ReadCompactConfig(const nlohmann::json& json, ModelConfig& config);

/// Returns the name of AttentionProjections::head_order in the compact folder.
std::string HeadOrderName(int64_t layer);

/// Returns the block with one KV head for each of the `heads` query heads, in the source's order.
Block ExpandAttention(Block block, int64_t heads);

}  // namespace regroup
