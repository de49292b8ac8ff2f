#include "attention_cases.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <stdexcept>

#include "reference_attention.h"

namespace regroup {
namespace {

AttentionShape Shape(int64_t rotary_width) {
  return {
      .hidden = 40, .query_heads = 4, .kv_heads = 4, .head_width = 8, .value_width = 8, .rotary_width = rotary_width};
}

AttentionCase Grouped() {
  AttentionCase grouped{"grouped_source", Shape(8), true};
  grouped.shape.query_heads = 8;
  return grouped;
}

AttentionCase Interleaved() {
  AttentionCase interleaved{"interleaved", Shape(6)};
  interleaved.shape.interleaved = true;
  return interleaved;
}

AttentionCase NarrowValues() {
  AttentionCase narrow{"narrow_values", Shape(8)};
  narrow.shape.value_width = 6;
  return narrow;
}

AttentionCase Cross() {
  AttentionCase cross{"cross", Shape(0)};
  cross.shape.cross_attention = true;
  cross.shape.query_hidden = 24;
  return cross;
}

}  // namespace

std::vector<AttentionCase> AttentionCases() {
  return {{"rotary", Shape(8)},
          {"rotary_biases", Shape(8), true},
          {"partial_rotary", Shape(4), true},
          {"no_rotary", Shape(0)},
          {"no_rotary_biases", Shape(0), true},
          Grouped(),
          Interleaved(),
          NarrowValues(),
          Cross()};
}

AttentionCase CaseNamed(const std::string& name) {
  for (const auto& attention : AttentionCases()) {
    if (attention.name == name) return attention;
  }
  throw std::invalid_argument(name);
}

at::Tensor RandomNormal(at::IntArrayRef sizes, uint64_t seed) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kDouble));
}

at::Tensor RandomTokens(int64_t tokens, int64_t width, uint64_t seed) {
  const auto scale = at::linspace(0.3, 2.0, width, at::kDouble);
  return RandomNormal({tokens, width}, seed) * scale + 0.5 * RandomNormal({1, width}, seed + 1);
}

at::Tensor RandomRotation(int64_t width, uint64_t seed) {
  return std::get<0>(at::linalg_qr(RandomNormal({width, width}, seed)));
}

AttentionWeights RandomWeights(const AttentionCase& attention, uint64_t seed) {
  const auto& shape = attention.shape;
  const auto normal = [&](int64_t rows, int64_t columns, uint64_t offset) {
    return RandomNormal({rows, columns}, 100 * seed + offset) * 0.3;
  };
  AttentionWeights weights;
  weights.query = normal(shape.query_heads * shape.head_width, shape.QueryInputWidth(), 0);
  weights.key = normal(shape.kv_heads * shape.head_width, shape.hidden, 1);
  weights.value = normal(shape.kv_heads * shape.value_width, shape.hidden, 2);
  weights.output = normal(shape.hidden, shape.query_heads * shape.value_width, 3);
  if (!attention.biases) return weights;
  weights.query_bias = normal(1, weights.query.size(0), 4).squeeze(0);
  weights.key_bias = normal(1, weights.key.size(0), 5).squeeze(0);
  weights.value_bias = normal(1, weights.value.size(0), 6).squeeze(0);
  return weights;
}

CalibratedLayer::CalibratedLayer(const AttentionCase& attention, uint64_t seed, int64_t tokens)
    : shape(attention.shape), weights(RandomWeights(attention, seed)), statistics(shape, true) {
  input = RandomTokens(tokens, shape.hidden, 7 * seed + 1);
  query_input = shape.cross_attention ? RandomTokens(tokens / 2, shape.query_hidden, 7 * seed + 2) : input;
  Recalibrate();
}

void CalibratedLayer::Recalibrate() {
  statistics = LayerStatistics(shape, true);
  auto batch = ProjectKeysAndValues(input, weights);
  if (shape.cross_attention) batch.query_input = query_input;
  statistics.Accumulate(batch);
}

double OutputChange(const CalibratedLayer& layer, const AttentionWeights& changed, int64_t kv_heads) {
  const auto input = layer.input.slice(0, 0, 24);
  const auto query_input = layer.shape.cross_attention ? layer.query_input.slice(0, 0, 16) : input;
  const auto before = ReferenceAttention(layer.weights, layer.shape, input, query_input);
  AttentionShape shape = layer.shape;
  shape.kv_heads = kv_heads;
  const auto after = ReferenceAttention(changed, shape, input, query_input);
  return ((after - before).abs().max() / before.abs().max()).item<double>();
}

}  // namespace regroup
