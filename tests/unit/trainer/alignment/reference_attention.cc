#include "reference_attention.h"

#include <ATen/ATen.h>

#include <cmath>

namespace regroup {
namespace {

int64_t FirstCoordinate(const AttentionShape& shape, int64_t pair) { return shape.interleaved ? 2 * pair : pair; }

int64_t SecondCoordinate(const AttentionShape& shape, int64_t pair) {
  return shape.interleaved ? 2 * pair + 1 : pair + shape.rotary_width / 2;
}

at::Tensor Rotate(const at::Tensor& head, const AttentionShape& shape) {
  auto rotated = head.clone();
  for (int64_t position = 0; position < head.size(0); ++position) {
    for (int64_t pair = 0; pair < shape.rotary_width / 2; ++pair) {
      const double angle = static_cast<double>(position) * std::pow(0.7, static_cast<double>(pair));
      const int64_t a = FirstCoordinate(shape, pair);
      const int64_t b = SecondCoordinate(shape, pair);
      const double x = head[position][a].item<double>();
      const double y = head[position][b].item<double>();
      rotated[position][a] = x * std::cos(angle) - y * std::sin(angle);
      rotated[position][b] = y * std::cos(angle) + x * std::sin(angle);
    }
  }
  return rotated;
}

/// Divides each token's heads by their root mean square, or that of all heads, and multiplies them by the weights.
std::vector<at::Tensor> Normalise(const std::vector<at::Tensor>& heads, const at::Tensor& norm, KeyNorm kind) {
  if (kind == KeyNorm::kNone) return heads;
  const auto scaled = [](const at::Tensor& x) { return x / x.square().mean(1, true).sqrt(); };
  if (kind == KeyNorm::kAllHeads) {
    return (scaled(at::cat(heads, 1)) * norm).split(heads.front().size(1), 1);
  }
  std::vector<at::Tensor> normalised;
  for (const at::Tensor& head : heads) normalised.push_back(scaled(head) * norm);
  return normalised;
}

}  // namespace

std::vector<at::Tensor> ProjectHeads(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                                     int64_t heads) {
  auto all = input.to(at::kDouble).matmul(weight.to(at::kDouble).t());
  if (bias.defined()) all = all + bias.to(at::kDouble);
  return all.split(all.size(1) / heads, 1);
}

at::Tensor ComplexPairs(const at::Tensor& head, const AttentionShape& shape) {
  std::vector<at::Tensor> pairs;
  for (int64_t pair = 0; pair < shape.rotary_width / 2; ++pair) {
    pairs.push_back(at::complex(head.select(1, FirstCoordinate(shape, pair)).contiguous(),
                                head.select(1, SecondCoordinate(shape, pair)).contiguous()));
  }
  return at::stack(pairs, 1);
}

at::Tensor ReferenceAttention(const AttentionWeights& weights, const AttentionShape& shape, const at::Tensor& input,
                              const at::Tensor& query_input) {
  const auto queries = Normalise(ProjectHeads(query_input, weights.query, weights.query_bias, shape.query_heads),
                                 weights.query_norm, shape.key_norm);
  const auto keys =
      Normalise(ProjectHeads(input, weights.key, weights.key_bias, shape.kv_heads), weights.key_norm, shape.key_norm);
  const auto values = ProjectHeads(input, weights.value, weights.value_bias, shape.kv_heads);
  std::vector<at::Tensor> heads;
  for (int64_t head = 0; head < shape.query_heads; ++head) {
    const int64_t owner = head * shape.kv_heads / shape.query_heads;
    auto logits = Rotate(queries[head], shape).matmul(Rotate(keys[owner], shape).t());
    logits = logits / std::sqrt(static_cast<double>(shape.head_width));
    if (!shape.cross_attention) {
      logits = logits.masked_fill(at::ones_like(logits).triu(1).to(at::kBool), -INFINITY);
    }
    heads.push_back(logits.softmax(1).matmul(values[owner]));
  }
  return at::cat(heads, 1).matmul(weights.output.to(at::kDouble).t());
}

}  // namespace regroup
