#include "trainer/nn/transformer.h"

#include <ATen/ATen.h>

#include "trainer/nn/few_rows_linear.h"

namespace regroup {
namespace {

at::Tensor Activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kRelu:
      return at::relu(x);
  }
  return x;
}

/// [B, T, heads x d] -> [B, heads, T, d].
at::Tensor SplitHeads(const at::Tensor& x, int64_t head_width) {
  return x.unflatten(-1, {-1, head_width}).transpose(1, 2);
}

/// Repeats each KV head for the query heads that read it.
at::Tensor RepeatHeads(const at::Tensor& x_BGTd, int64_t heads) {
  const int64_t repeats = heads / x_BGTd.size(1);
  return repeats == 1 ? x_BGTd : x_BGTd.repeat_interleave(repeats, 1);
}

}  // namespace

at::Tensor Normalise(const at::Tensor& x, const Norm& norm, double epsilon) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + epsilon);
  return (wide * scale).to(x.scalar_type()) * norm.weight;
}

at::Tensor Project(const at::Tensor& x, const Linear& linear) {
  if (!HasFewRows(x, linear.weight)) return at::linear(x, linear.weight, linear.bias);
  const at::Tensor y = LinearOfFewRows(x, linear.weight);
  return linear.bias.defined() ? y + linear.bias : y;
}

at::Tensor AttendHeads(const at::Tensor& x_BTD, const AttentionProjections& weights, const ModelConfig& config,
                       const RotaryTable& table, const CachedLayer& cached) {
  const int64_t width = config.head_width;
  const at::Tensor query = ApplyRotary(SplitHeads(Project(x_BTD, weights.query), width), config.rotary, table);
  const at::Tensor key = ApplyRotary(SplitHeads(Project(x_BTD, weights.key), width), config.rotary, table);
  const at::Tensor value = SplitHeads(Project(x_BTD, weights.value), width);
  if (cached.cache != nullptr) {
    return cached.cache->Attend(cached.layer, query, key, value).transpose(1, 2).flatten(-2);
  }
  const int64_t heads = query.size(1);
  const at::Tensor attended =
      at::scaled_dot_product_attention(query, RepeatHeads(key, heads), RepeatHeads(value, heads),
                                       /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/true);
  return attended.transpose(1, 2).flatten(-2);
}

at::Tensor RunFeedForward(const at::Tensor& x_BTD, const FeedForward& weights, Activation activation) {
  return Project(Activate(Project(x_BTD, weights.gate), activation) * Project(x_BTD, weights.up), weights.down);
}

at::Tensor RunBlock(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config, const RotaryTable& table,
                    const std::function<void(const at::Tensor&)>& attention_input, const CachedLayer& cached) {
  const at::Tensor input = Normalise(x_BTD, block.attention_norm, config.norm_epsilon);
  if (attention_input) attention_input(input);
  const at::Tensor attended = AttendHeads(input, block.attention, config, table, cached);
  const at::Tensor middle = x_BTD + Project(attended, block.attention.output);
  const at::Tensor feed = Normalise(middle, block.feed_forward_norm, config.norm_epsilon);
  return middle + RunFeedForward(feed, block.feed_forward, config.activation);
}

at::Tensor RunHiddenStates(const Model& model, const at::Tensor& tokens_BT, const AttentionInputObserver& observer) {
  const RotaryTable table = MakeRotaryTable(model.config.rotary, tokens_BT.size(1), tokens_BT.device());
  at::Tensor x = at::embedding(model.embedding, tokens_BT);
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    std::function<void(const at::Tensor&)> attention_input;
    if (observer) attention_input = [&](const at::Tensor& input) { observer(static_cast<int64_t>(layer), input); };
    x = RunBlock(x, model.blocks[layer], model.config, table, attention_input);
  }
  return Normalise(x, model.final_norm, model.config.norm_epsilon);
}

at::Tensor RunCachedHiddenStates(const Model& model, const at::Tensor& tokens_BT, KeyValueCache& cache) {
  at::NoGradGuard no_gradients;
  const int64_t tokens = tokens_BT.size(1);
  const RotaryTable table = cache.NextRotations(tokens);
  at::Tensor x = at::embedding(model.embedding, tokens_BT);
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    x = RunBlock(x, model.blocks[layer], model.config, table, {}, {&cache, static_cast<int64_t>(layer)});
  }
  cache.Advance(tokens);
  return Normalise(x, model.final_norm, model.config.norm_epsilon);
}

at::Tensor RunOutputProjection(const Model& model, const at::Tensor& hidden) {
  return Project(hidden, {model.OutputProjection(), {}});
}

}  // namespace regroup
