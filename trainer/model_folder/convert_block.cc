#include "trainer/model_folder/convert_block.h"

#include <ATen/ATen.h>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/merge_heads.h"

namespace regroup {

namespace {

KeyNorm KeyNormOf(QueryKeyNorm norm) {
  switch (norm) {
    case QueryKeyNorm::kPerHead:
      return KeyNorm::kPerHead;
    case QueryKeyNorm::kAllHeads:
      return KeyNorm::kAllHeads;
    case QueryKeyNorm::kNone:
      break;
  }
  return KeyNorm::kNone;
}

/// Returns true for a norm's weights that are factors minus 1.
bool AddsOne(const at::Tensor& weight, const ModelConfig& config) {
  return weight.defined() && config.norm == NormKind::kRmsPlusOne;
}

/// Records the source position of each head, so that position biases follow their heads.
void OrderHeads(Block& block, const std::vector<int64_t>& order) {
  at::Tensor& heads = block.attention.head_order;
  const at::Tensor places = at::tensor(order, at::kLong);
  heads = heads.defined() ? heads.index_select(0, places.to(heads.device())) : places;
}

}  // namespace

AttentionShape AttentionShapeOf(const ModelConfig& config, int64_t layer) {
  const RotaryConfig& rotary = config.Kind(layer).rotary;
  return {.hidden = config.hidden_size,
          .query_heads = config.heads,
          .kv_heads = config.KvHeads(layer),
          .head_width = config.head_width,
          .value_width = config.head_width,
          .rotary_width = rotary.width,
          .interleaved = rotary.interleaved,
          .cross_attention = config.Role(layer) == AttentionRole::kCross,
          .query_hidden = config.hidden_size,
          .key_norm = KeyNormOf(config.query_key_norm)};
}

AttentionActivations ActivationsOf(const AttentionRows& rows) {
  const bool is_cross = !rows.memory.is_same(rows.query);
  return {.input = rows.memory,
          .keys = rows.keys,
          .values = rows.values,
          .mask = is_cross ? at::Tensor() : rows.counted,
          .query_input = rows.query,
          .query_mask = rows.counted};
}

AttentionWeights AttentionWeightsOf(const Block& block, const ModelConfig& config) {
  const AttentionProjections& attention = block.attention;
  const auto factors = [&](const Norm& norm) {
    return AddsOne(norm.weight, config) ? norm.weight.to(at::kDouble) + 1.0 : norm.weight;
  };
  return {.query = attention.query.weight,
          .key = attention.key.weight,
          .value = attention.value.weight,
          .output = attention.output.weight,
          .query_bias = attention.query.bias,
          .key_bias = attention.key.bias,
          .value_bias = attention.value.bias,
          .query_norm = factors(attention.query_norm),
          .key_norm = factors(attention.key_norm)};
}

void SetAttention(Block& block, const AttentionWeights& attention, const ModelConfig& config) {
  const at::TensorOptions options = block.attention.query.weight.options();
  const auto place = [&](at::Tensor& slot, const at::Tensor& tensor) {
    slot = tensor.defined() ? tensor.to(options).contiguous() : tensor;
  };
  place(block.attention.query.weight, attention.query);
  place(block.attention.key.weight, attention.key);
  place(block.attention.value.weight, attention.value);
  place(block.attention.output.weight, attention.output);
  place(block.attention.query.bias, attention.query_bias);
  place(block.attention.key.bias, attention.key_bias);
  place(block.attention.value.bias, attention.value_bias);
  const auto place_norm = [&](Norm& slot, const at::Tensor& factors) {
    place(slot.weight, AddsOne(factors, config) ? factors - 1.0 : factors);
  };
  place_norm(block.attention.query_norm, attention.query_norm);
  place_norm(block.attention.key_norm, attention.key_norm);
}

namespace {

using AttentionConversion = absl::StatusOr<AttentionWeights> (*)(const AttentionWeights&, const LayerAlignment&,
                                                                 const AttentionShape&);

absl::Status Convert(Block& block, const ModelConfig& source_config, int64_t layer, const LayerAlignment& alignment,
                     AttentionConversion conversion) {
  const AttentionShape shape = AttentionShapeOf(source_config, layer);
  REGROUP_ASSIGN_OR_RETURN(const AttentionWeights converted,
                           conversion(AttentionWeightsOf(block, source_config), alignment, shape));
  SetAttention(block, converted, source_config);
  if (source_config.HeadsHavePositionBias()) OrderHeads(block, QueryHeadOrder(alignment, shape));
  return absl::OkStatus();
}

}  // namespace

absl::Status AlignBlock(Block& block, const ModelConfig& source_config, int64_t layer,
                        const LayerAlignment& alignment) {
  return Convert(block, source_config, layer, alignment, ApplyAlignment);
}

absl::Status MergeBlock(Block& block, const ModelConfig& source_config, int64_t layer,
                        const LayerAlignment& alignment) {
  return Convert(block, source_config, layer, alignment, MergeHeads);
}

}  // namespace regroup
