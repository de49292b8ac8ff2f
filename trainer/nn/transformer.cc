#include "trainer/nn/transformer.h"

#include <ATen/ATen.h>

#include "trainer/nn/fused_operators.h"
#include "trainer/nn/packed_linear.h"
#include "trainer/nn/recompute.h"

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
    case Activation::kSquaredRelu:
      return at::relu(x).square();
  }
  return x;
}

/// Reshapes [B, T, heads x d] to [B, heads, T, d].
at::Tensor SplitHeads(const at::Tensor& x, int64_t head_width) {
  return x.unflatten(-1, {-1, head_width}).transpose(1, 2);
}

at::Tensor Scaled(const at::Tensor& x, double factor) { return factor == 1.0 ? x : x * factor; }

/// Returns projected rows as heads [B, heads, T, d] before rotation, normalised if the model does so. Norms take rows
/// that lie one behind the other.
at::Tensor QueryOrKeyHeads(const at::Tensor& rows, const Norm& norm, const ModelConfig& config) {
  switch (config.query_key_norm) {
    case QueryKeyNorm::kAllHeads:
      return SplitHeads(Normalise(rows, norm, config), config.head_width);
    case QueryKeyNorm::kPerHead:
      return Normalise(rows.unflatten(-1, {-1, config.head_width}), norm, config).transpose(1, 2);
    case QueryKeyNorm::kNone:
      break;
  }
  return SplitHeads(rows, config.head_width);
}

at::Tensor RunDense(const at::Tensor& x, const FeedForward& weights, Activation activation) {
  const at::Tensor up = Project(x, weights.up);
  if (!weights.gate.defined()) return Project(Activate(up, activation), weights.down);
  return Project(Activate(Project(x, weights.gate), activation) * up, weights.down);
}

/// Returns the weighted sum of the experts that each token of x [N, D] chooses.
at::Tensor RunExperts(const at::Tensor& x, const FeedForward& weights, const ModelConfig& config) {
  const int64_t per_token = config.experts.per_token;
  const at::Tensor probabilities = at::softmax(Project(x, weights.router).to(at::kFloat), -1);
  auto [shares, chosen] = at::topk(probabilities, per_token);
  if (config.experts.normalised) shares = shares / shares.sum(-1, /*keepdim=*/true);
  // The choices of all tokens, those of one expert after those of another.
  const at::Tensor order = chosen.flatten().argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor rows = x.index_select(0, order.floor_divide(per_token));
  const at::Tensor counts = at::bincount(chosen.flatten(), {}, config.experts.count).cpu();
  const at::TensorAccessor<int64_t, 1> count = counts.accessor<int64_t, 1>();
  std::vector<at::Tensor> results;
  int64_t first = 0;
  for (int64_t expert = 0; expert < config.experts.count; ++expert) {
    if (count[expert] == 0) continue;
    results.push_back(RunDense(rows.narrow(0, first, count[expert]), weights.experts[expert], config.activation));
    first += count[expert];
  }
  const at::Tensor by_token = at::cat(results).index_select(0, order.argsort()).unflatten(0, {-1, per_token});
  return (by_token * shares.to(x.scalar_type()).unsqueeze(-1)).sum(1);
}

}  // namespace

at::Tensor Normalise(const at::Tensor& x, const Norm& norm, const ModelConfig& config) {
  if (config.norm == NormKind::kRms) return RmsNorm(x, norm.weight, config.norm_epsilon);
  const at::Tensor wide = x.to(at::kFloat);
  if (config.norm != NormKind::kRmsPlusOne) {
    const auto parameter = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.to(at::kFloat) : tensor; };
    at::Tensor weight = parameter(norm.weight);
    if (config.norm == NormKind::kLayerPlusOne) weight = 1.0 + weight;
    return at::layer_norm(wide, {x.size(-1)}, weight, parameter(norm.bias), config.norm_epsilon).to(x.scalar_type());
  }
  // Gemma rounds the product once.
  return RmsNorm(wide, 1.0 + norm.weight.to(at::kFloat), config.norm_epsilon).to(x.scalar_type());
}

at::Tensor Project(const at::Tensor& x, const Linear& linear) {
  if (!linear.packed.defined()) return at::linear(x, linear.weight, linear.bias);
  const at::Tensor y = LinearOfPacked(x, linear.packed);
  return linear.bias.defined() ? y + linear.bias : y;
}

AttentionRows RowsOfAttention(const AttentionInputs& inputs, const AttentionProjections& weights) {
  return {inputs, {}, Project(inputs.memory, weights.key), Project(inputs.memory, weights.value)};
}

AttentionHeads HeadsOfAttention(const AttentionRows& rows, const AttentionProjections& weights,
                                const ModelConfig& config, const PositionTables& positions) {
  const auto rotated = [&](const at::Tensor& projected, const Norm& norm) {
    return ApplyRotary(QueryOrKeyHeads(projected, norm, config), positions.rotary);
  };
  const bool has_keys = rows.keys.defined();
  return {.query = rotated(Project(rows.query, weights.query), weights.query_norm),
          .key = has_keys ? rotated(rows.keys, weights.key_norm) : at::Tensor(),
          .value = has_keys ? SplitHeads(rows.values, config.head_width) : at::Tensor(),
          .bias = AttentionBias(positions, weights.head_order),
          .causal = positions.causal,
          .scale = config.AttentionScale(),
          .soft_cap = config.attention_soft_cap};
}

at::Tensor JoinHeads(const at::Tensor& heads) { return heads.transpose(1, 2).flatten(-2); }

at::Tensor AttendHeads(const AttentionRows& rows, const AttentionProjections& weights, const ModelConfig& config,
                       const PositionTables& positions, const CachedLayer& cached) {
  const AttentionHeads heads = HeadsOfAttention(rows, weights, config, positions);
  if (cached.cache != nullptr) {
    return JoinHeads(cached.cache->Attend(cached.layer, heads));
  }
  if (positions.sequences.has_value()) {
    return JoinHeads(AttendSequences(heads.query, heads.key, heads.value, *positions.sequences, heads.scale));
  }
  return JoinHeads(Attend(heads));
}

at::Tensor AttentionBranch(const at::Tensor& heads, const Block& block, const ModelConfig& config) {
  const at::Tensor attended = Project(heads, block.attention.output);
  if (config.layout == BlockLayout::kNormAfter) return Normalise(attended, block.attention_norm, config);
  if (config.layout == BlockLayout::kNormAround) return Normalise(attended, block.attention_output_norm, config);
  return Scaled(attended, config.residual_scale);
}

at::Tensor RunFeedForward(const at::Tensor& x_BTD, const FeedForward& weights, const ModelConfig& config) {
  if (!weights.router.defined()) return RunDense(x_BTD, weights, config.activation);
  const at::Tensor x = x_BTD.flatten(0, -2);
  at::Tensor y = RunExperts(x, weights, config);
  if (weights.up.defined()) {
    const at::Tensor shared = RunDense(x, weights, config.activation);
    y = y + (weights.shared_gate.defined() ? at::sigmoid(Project(x, weights.shared_gate)) * shared : shared);
  }
  return y.view(x_BTD.sizes());
}

AttentionInputs InputsOfAttention(const at::Tensor& x_BTD, const at::Tensor& memory, const Block& block,
                                  const ModelConfig& config) {
  const bool reads_stream = config.layout == BlockLayout::kNormAfter || config.layout == BlockLayout::kNormOnSum;
  const at::Tensor x = reads_stream ? x_BTD : Normalise(x_BTD, block.attention_norm, config);
  return {x, memory.defined() ? memory : x};
}

at::Tensor RunBlock(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config,
                    const BlockContext& context) {
  const AttentionInputs inputs = InputsOfAttention(x_BTD, context.memory, block, config);
  const AttentionRows rows =
      context.cached.HasMemory(config) ? AttentionRows{inputs} : RowsOfAttention(inputs, block.attention);
  if (context.observer) context.observer(rows);
  const at::Tensor attended =
      AttentionBranch(AttendHeads(rows, block.attention, config, context.positions, context.cached), block, config);
  if (context.branch_observer) context.branch_observer(attended);
  const auto feed_forward = [&](const at::Tensor& x) {
    const at::Tensor y = context.recompute_feed_forward ? RunFeedForwardRecomputed(x, block.feed_forward, config)
                                                        : RunFeedForward(x, block.feed_forward, config);
    return Scaled(y, config.residual_scale);
  };
  const auto second_norm = [&](const at::Tensor& x) { return Normalise(x, block.feed_forward_norm, config); };
  switch (config.layout) {
    case BlockLayout::kParallel:
      return x_BTD + attended + feed_forward(inputs.query);
    case BlockLayout::kParallelTwoNorms:
      return x_BTD + attended + feed_forward(second_norm(x_BTD));
    case BlockLayout::kNormAfter: {
      const at::Tensor middle = x_BTD + attended;
      return middle + second_norm(feed_forward(middle));
    }
    case BlockLayout::kNormAround: {
      const at::Tensor middle = x_BTD + attended;
      if (!block.feed_forward.defined()) return middle;
      return middle + Normalise(feed_forward(second_norm(middle)), block.feed_forward_output_norm, config);
    }
    case BlockLayout::kNormOnSum: {
      const at::Tensor middle = Normalise(x_BTD + attended, block.attention_norm, config);
      return block.feed_forward.defined() ? second_norm(middle + feed_forward(middle)) : middle;
    }
    case BlockLayout::kSequential:
      break;
  }
  const at::Tensor middle = x_BTD + attended;
  return block.feed_forward.defined() ? middle + feed_forward(second_norm(middle)) : middle;
}

namespace {

/// The outer parameters of one stack.
struct Stack {
  const at::Tensor& embedding;
  const at::Tensor& positions;
  const Norm& norm;
};

at::Tensor EmbedFor(const Stack& stack, const at::Tensor& tokens_BT, const at::Tensor& places,
                    const ModelConfig& config) {
  at::Tensor x = at::embedding(stack.embedding, tokens_BT);
  if (config.embedding_scale != 1.0) x = x * at::scalar_tensor(config.embedding_scale, x.options());
  if (stack.positions.defined()) x = x + at::embedding(stack.positions, places + config.position_offset);
  if (config.sinusoidal.divisor > 0) x = x + SinusoidalPositions(places, config).to(x.scalar_type());
  return config.embedding_norm ? Normalise(x, stack.norm, config) : x;
}

/// Returns the places of consecutive tokens, or nothing where the stack adds no positions.
at::Tensor PlacesFrom(int64_t first, const at::Tensor& tokens_BT, const at::Tensor& positions,
                      const ModelConfig& config) {
  if (!positions.defined() && config.sinusoidal.divisor == 0) return {};
  return at::arange(first, first + tokens_BT.size(-1), tokens_BT.options());
}

}  // namespace

at::Tensor Embed(const Model& model, const at::Tensor& tokens_BT, int64_t first) {
  return Embed(model, tokens_BT, PlacesFrom(first, tokens_BT, model.positions, model.config));
}

at::Tensor Embed(const Model& model, const at::Tensor& tokens_BT, const at::Tensor& places_BT) {
  return EmbedFor({model.embedding, model.positions, model.embedding_norm}, tokens_BT, places_BT, model.config);
}

namespace {

/// Returns an encoder's first stream, from windows' entries that hold spectrograms.
at::Tensor RunConvolutions(const Model& model, const at::Tensor& entries) {
  const SpectrogramConfig& shape = model.config.spectrogram;
  const Linear &first = model.first_convolution, &second = model.second_convolution;
  const at::Tensor spectrogram = entries.to(at::kInt).view(at::kFloat).view({-1, shape.mel_bins, shape.frames});
  const at::Tensor x = at::gelu(at::conv1d(spectrogram.to(first.weight.scalar_type()), first.weight, first.bias,
                                           /*stride=*/1, /*padding=*/1));
  return at::gelu(at::conv1d(x, second.weight, second.bias, /*stride=*/2, /*padding=*/1)).transpose(1, 2) +
         model.encoder_positions;
}

}  // namespace

at::Tensor EmbedForEncoder(const Model& model, const at::Tensor& tokens_BT) {
  if (model.config.ReadsAudio()) return RunConvolutions(model, tokens_BT);
  const at::Tensor& own = model.encoder_embedding;
  const Stack stack{own.defined() ? own : model.embedding, model.encoder_positions, model.encoder_embedding_norm};
  return EmbedFor(stack, tokens_BT, PlacesFrom(0, tokens_BT, stack.positions, model.config), model.config);
}

std::vector<PositionTables> EncoderPositions(const Model& model, int64_t tokens, at::Device device) {
  const ModelConfig& config = model.config;
  const std::vector<RotaryTable> rotary = MakeRotaryTables(config, tokens, device);
  std::vector<PositionTables> tables;
  for (size_t kind = 0; kind < config.kinds.size(); ++kind) {
    PositionTables& table = tables.emplace_back(PositionTables{.rotary = rotary[kind], .causal = false});
    const int64_t window = config.kinds[kind].sliding_window;
    if (model.encoder_relative_bias.defined()) {
      table.bias = RelativePositionBias(model.encoder_relative_bias, config.relative_bias, 0, tokens, true);
    } else if (window > 0 && window < tokens) {
      table.bias = WindowBias(tokens, window, device);
    }
  }
  return tables;
}

void RunCachedEncoder(const Model& model, const at::Tensor& tokens_BT, KeyValueCache& cache) {
  at::NoGradGuard no_gradients;
  const ModelConfig& config = model.config;
  at::Tensor memory = EmbedForEncoder(model, tokens_BT);
  const std::vector<PositionTables> positions = EncoderPositions(model, memory.size(1), memory.device());
  for (int64_t layer = 0; layer < config.encoder_layers; ++layer) {
    memory = RunBlock(memory, model.blocks[layer], config, {.positions = positions[config.KindIndex(layer)]});
  }
  memory = EncoderOutput(memory, model);
  for (int64_t layer = config.encoder_layers; layer < config.layers; ++layer) {
    if (config.Role(layer) != AttentionRole::kCross) continue;
    const AttentionProjections& weights = model.blocks[layer].attention;
    cache.KeepMemory(layer, QueryOrKeyHeads(Project(memory, weights.key), weights.key_norm, config),
                     SplitHeads(Project(memory, weights.value), config.head_width));
  }
}

at::Tensor RunCachedHiddenStates(const Model& model, const at::Tensor& tokens_BT, KeyValueCache& cache) {
  at::NoGradGuard no_gradients;
  const ModelConfig& config = model.config;
  const int64_t first = cache.length(), tokens = tokens_BT.size(1);
  std::vector<PositionTables> positions = cache.NextPositions(tokens);
  if (model.decoder_relative_bias.defined()) {
    positions.front().bias =
        RelativePositionBias(model.decoder_relative_bias, config.relative_bias, first, tokens, false);
  }
  const PositionTables of_memory{.causal = false};
  at::Tensor x = Embed(model, tokens_BT, first);
  for (int64_t layer = config.encoder_layers; layer < config.layers; ++layer) {
    const CachedLayer cached{&cache, layer};
    x = RunBlock(
        x, model.blocks[layer], config,
        {.positions = cached.HasMemory(config) ? of_memory : positions[config.KindIndex(layer)], .cached = cached});
  }
  cache.Advance(tokens);
  return FinalStates(x, model);
}

at::Tensor FinalStates(const at::Tensor& x_BTD, const Model& model) {
  // OLMo's final norm has no parameters.
  const at::Tensor states = model.config.final_norm ? Normalise(x_BTD, model.final_norm, model.config) : x_BTD;
  return Scaled(states, model.config.output_scale);
}

at::Tensor EncoderOutput(const at::Tensor& x_BTD, const Model& model) {
  return model.config.final_norm ? Normalise(x_BTD, model.encoder_norm, model.config) : x_BTD;
}

at::Tensor RunOutputProjection(const Model& model, const at::Tensor& hidden) {
  return SoftCapped(Project(hidden, model.OutputProjection()), model.config.logit_soft_cap);
}

}  // namespace regroup
