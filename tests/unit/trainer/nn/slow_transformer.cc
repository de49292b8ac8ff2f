#include "slow_transformer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <complex>
#include <vector>

namespace regroup {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

Row RowOf(const at::Tensor& vector) {
  const at::Tensor wide = vector.to(at::kDouble).contiguous();
  return Row(wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel());
}

Rows RowsOf(const at::Tensor& matrix) {
  Rows rows;
  for (int64_t row = 0; row < matrix.size(0); ++row) rows.push_back(RowOf(matrix[row]));
  return rows;
}

Row Times(const Rows& weight, const at::Tensor& bias, const Row& x) {
  Row y = bias.defined() ? RowOf(bias) : Row(weight.size(), 0.0);
  for (size_t out = 0; out < weight.size(); ++out) {
    for (size_t in = 0; in < x.size(); ++in) y[out] += weight[out][in] * x[in];
  }
  return y;
}

Rows ApplyLinear(const Linear& linear, const Rows& tokens) {
  const Rows weight = RowsOf(linear.weight);
  Rows result;
  for (const Row& x : tokens) result.push_back(Times(weight, linear.bias, x));
  return result;
}

Rows ApplyNorm(const Norm& norm, const Rows& tokens, double epsilon) {
  const Row weight = RowOf(norm.weight);
  Rows result = tokens;
  for (Row& x : result) {
    double squares = 0;
    for (const double entry : x) squares += entry * entry;
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= scale * weight[i];
  }
  return result;
}

/// One head of a token: entries [head * width, (head + 1) * width), turned for its position.
Row TurnedHead(const Row& token, int64_t head, int64_t position, const ModelConfig& config) {
  Row x(token.begin() + head * config.head_width, token.begin() + (head + 1) * config.head_width);
  const int64_t pairs = config.rotary.width / 2;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const double angle = static_cast<double>(position) * config.rotary.inverse_frequencies[pair];
    const std::complex<double> turned = std::complex<double>(x[pair], x[pair + pairs]) * std::polar(1.0, angle);
    x[pair] = turned.real();
    x[pair + pairs] = turned.imag();
  }
  return x;
}

double Dot(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// What head `head` of the token at `position` reads from the tokens up to it.
Row AttendOne(const Rows& queries, const Rows& keys, const Rows& values, int64_t head, int64_t position,
              const ModelConfig& config) {
  const int64_t width = config.head_width;
  const int64_t kv_head = head / (config.heads / (static_cast<int64_t>(keys[0].size()) / width));
  const Row query = TurnedHead(queries[position], head, position, config);
  Row weights;
  double total = 0;
  for (int64_t past = 0; past <= position; ++past) {
    const double score =
        Dot(query, TurnedHead(keys[past], kv_head, past, config)) / std::sqrt(static_cast<double>(width));
    weights.push_back(std::exp(score));
    total += weights.back();
  }
  Row result(width, 0.0);
  for (int64_t past = 0; past <= position; ++past) {
    for (int64_t i = 0; i < width; ++i) result[i] += weights[past] / total * values[past][kv_head * width + i];
  }
  return result;
}

Rows Attend(const Rows& x, const AttentionProjections& weights, const ModelConfig& config) {
  const Rows queries = ApplyLinear(weights.query, x);
  const Rows keys = ApplyLinear(weights.key, x);
  const Rows values = ApplyLinear(weights.value, x);
  Rows joined;
  for (size_t position = 0; position < x.size(); ++position) {
    Row& row = joined.emplace_back();
    for (int64_t head = 0; head < config.heads; ++head) {
      const Row part = AttendOne(queries, keys, values, head, static_cast<int64_t>(position), config);
      row.insert(row.end(), part.begin(), part.end());
    }
  }
  return ApplyLinear(weights.output, joined);
}

double Activate(double x, Activation activation) {
  constexpr double kPi = 3.14159265358979323846;
  switch (activation) {
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / kPi) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(0.0, x);
  }
  return 0;
}

Rows RunGatedFeedForward(const Rows& x, const FeedForward& weights, Activation activation) {
  Rows gate = ApplyLinear(weights.gate, x);
  const Rows up = ApplyLinear(weights.up, x);
  for (size_t token = 0; token < gate.size(); ++token) {
    for (size_t i = 0; i < gate[token].size(); ++i)
      gate[token][i] = Activate(gate[token][i], activation) * up[token][i];
  }
  return ApplyLinear(weights.down, gate);
}

void Add(Rows& x, const Rows& y) {
  for (size_t token = 0; token < x.size(); ++token) {
    for (size_t i = 0; i < x[token].size(); ++i) x[token][i] += y[token][i];
  }
}

at::Tensor TensorOf(const Rows& rows) {
  std::vector<at::Tensor> tensors;
  for (const Row& row : rows) tensors.push_back(at::tensor(row, at::kDouble));
  return at::stack(tensors);
}

at::Tensor SequenceLogits(const Model& model, const at::Tensor& tokens) {
  const ModelConfig& config = model.config;
  Rows x = RowsOf(model.embedding.index_select(0, tokens));
  for (const Block& block : model.blocks) {
    Add(x, Attend(ApplyNorm(block.attention_norm, x, config.norm_epsilon), block.attention, config));
    Add(x, RunGatedFeedForward(ApplyNorm(block.feed_forward_norm, x, config.norm_epsilon), block.feed_forward,
                               config.activation));
  }
  x = ApplyNorm(model.final_norm, x, config.norm_epsilon);
  return TensorOf(ApplyLinear(model.OutputProjection(), x));
}

at::Tensor RandomWeight(at::IntArrayRef shape) {
  return at::randn(shape) / std::sqrt(static_cast<double>(shape.back()));
}

Linear RandomLinear(int64_t out, int64_t in, bool with_bias) {
  return {RandomWeight({out, in}), with_bias ? at::randn({out}) : at::Tensor()};
}

Norm RandomNorm(int64_t width) { return {1.0 + 0.3 * at::randn({width})}; }

}  // namespace

at::Tensor SlowLogits(const Model& model, const at::Tensor& tokens_BT) {
  std::vector<at::Tensor> sequences;
  for (int64_t row = 0; row < tokens_BT.size(0); ++row) sequences.push_back(SequenceLogits(model, tokens_BT[row]));
  return at::stack(sequences);
}

Model RandomModel(const ModelConfig& config, bool with_biases, uint64_t seed) {
  at::manual_seed(seed);
  const int64_t hidden = config.hidden_size;
  const int64_t query_width = config.heads * config.head_width;
  const int64_t kv_width = config.kv_heads * config.head_width;
  Model model{.config = config, .embedding = at::randn({config.vocabulary, hidden})};
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    Block block;
    block.attention_norm = RandomNorm(hidden);
    block.attention = {.query = RandomLinear(query_width, hidden, with_biases),
                       .key = RandomLinear(kv_width, hidden, with_biases),
                       .value = RandomLinear(kv_width, hidden, with_biases),
                       .output = RandomLinear(hidden, query_width, with_biases)};
    block.feed_forward_norm = RandomNorm(hidden);
    block.feed_forward = {.gate = RandomLinear(config.intermediate_size, hidden, with_biases),
                          .up = RandomLinear(config.intermediate_size, hidden, with_biases),
                          .down = RandomLinear(hidden, config.intermediate_size, with_biases)};
    model.blocks.push_back(block);
  }
  model.final_norm = RandomNorm(hidden);
  if (!config.tied_embeddings) model.head.weight = RandomWeight({config.vocabulary, hidden});
  return model;
}

ModelConfig SmallConfig(int64_t kv_heads) {
  ModelConfig config{.family = "llama",
                     .hidden_size = 10,
                     .layers = 2,
                     .heads = 4,
                     .kv_heads = kv_heads,
                     .head_width = 6,
                     .intermediate_size = 14,
                     .vocabulary = 23,
                     .max_positions = 32,
                     .norm_epsilon = 1e-3};
  config.rotary = {.width = 6, .inverse_frequencies = {1.0, 0.2, 0.03}};
  return config;
}

}  // namespace regroup
