#include "trainer/stages/convert_block.h"

#include <ATen/ATen.h>

#include "services/base/status_macros.h"
#include "trainer/alignment/merge_heads.h"

namespace regroup {

AttentionShape AttentionShapeOf(const ModelConfig& config) {
  return {.hidden = config.hidden_size,
          .query_heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_width = config.head_width,
          .value_width = config.head_width,
          .rotary_width = config.rotary.width,
          .interleaved = config.rotary.interleaved};
}

AttentionWeights AttentionWeightsOf(const Block& block) {
  const AttentionProjections& attention = block.attention;
  return {.query = attention.query.weight,
          .key = attention.key.weight,
          .value = attention.value.weight,
          .output = attention.output.weight,
          .query_bias = attention.query.bias,
          .key_bias = attention.key.bias,
          .value_bias = attention.value.bias};
}

void SetAttention(Block& block, const AttentionWeights& attention) {
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
}

absl::Status MergeBlock(Block& block, const ModelConfig& source_config, const LayerAlignment& alignment) {
  REGROUP_ASSIGN_OR_RETURN(const AttentionWeights merged,
                           MergeHeads(AttentionWeightsOf(block), alignment, AttentionShapeOf(source_config)));
  SetAttention(block, merged);
  return absl::OkStatus();
}

}  // namespace regroup
