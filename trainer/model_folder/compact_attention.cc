#include "trainer/model_folder/compact_attention.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

namespace regroup {
namespace {

/// Repeats each head: rows of heads [G w, ...] become [heads w, ...].
at::Tensor RepeatRows(const at::Tensor& rows, int64_t groups, int64_t heads) {
  if (!rows.defined()) return rows;
  return rows.unflatten(0, {groups, -1}).repeat_interleave(heads / groups, 0).flatten(0, 1);
}

at::Tensor OrderRows(const at::Tensor& rows, const at::Tensor& order) {
  if (!rows.defined()) return rows;
  return rows.unflatten(0, {order.numel(), -1}).index_select(0, order).flatten(0, 1);
}

}  // namespace

bool IsExpanded(const nlohmann::json& config) {
  const auto provenance = config.find("regroup");
  return provenance != config.end() && provenance->is_object() && provenance->value("layout", "") == "expanded";
}

nlohmann::json CompactConfig(const ModelConfig& config) {
  if (config.kv_heads_of_layers.empty()) return {{"kv_heads", config.kv_heads}};
  return {{"kv_heads", config.kv_heads_of_layers}};
}

absl::Status ReadCompactConfig(const nlohmann::json& json, ModelConfig& config) {
  const nlohmann::json heads = json.value("kv_heads", nlohmann::json());
  const auto divides = [&](const nlohmann::json& count) {
    return count.is_number_integer() && count.get<int64_t>() > 0 && config.heads % count.get<int64_t>() == 0;
  };
  if (divides(heads)) {
    config.kv_heads = heads.get<int64_t>();
    return absl::OkStatus();
  }
  if (heads.is_array() && static_cast<int64_t>(heads.size()) == config.layers &&
      std::all_of(heads.begin(), heads.end(), divides)) {
    config.kv_heads_of_layers = heads.get<std::vector<int64_t>>();
    config.kv_heads = *std::max_element(config.kv_heads_of_layers.begin(), config.kv_heads_of_layers.end());
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("{}/config.json: 'kv_heads' is {}, which does not fit {} layers of {} heads", kCompactFolder,
                  heads.dump(), config.layers, config.heads));
}

std::string HeadOrderName(int64_t layer) { return fmt::format("layers.{}.attention.head_order", layer); }

Block ExpandAttention(Block block, int64_t heads) {
  AttentionProjections& attention = block.attention;
  const int64_t groups = heads * attention.key.weight.size(0) / attention.query.weight.size(0);
  for (at::Tensor* rows :
       {&attention.key.weight, &attention.key.bias, &attention.value.weight, &attention.value.bias}) {
    *rows = RepeatRows(*rows, groups, heads);
  }
  // A norm over all heads has a weight for each head; a norm per head applies to every head unchanged.
  at::Tensor& key_norm = attention.key_norm.weight;
  if (key_norm.defined() && key_norm.size(0) * heads != attention.query.weight.size(0)) {
    key_norm = RepeatRows(key_norm, groups, heads);
  }
  if (!attention.head_order.defined()) return block;
  const at::Tensor places = attention.head_order.argsort();
  for (Linear* linear : {&attention.query, &attention.key, &attention.value}) {
    linear->weight = OrderRows(linear->weight, places);
    linear->bias = OrderRows(linear->bias, places);
  }
  attention.output.weight = OrderRows(attention.output.weight.t(), places).t().contiguous();
  attention.head_order = at::Tensor();
  return block;
}

}  // namespace regroup
