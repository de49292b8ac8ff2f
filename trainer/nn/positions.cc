#include "trainer/nn/positions.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>
#include <limits>

namespace regroup {
namespace {

/// Returns the range of each distance >= 0: small distances have one each, larger ones share ranges that grow
/// logarithmically, and the last one is open-ended.
at::Tensor DistanceBuckets(const at::Tensor& distance, int64_t buckets, int64_t max_distance) {
  const int64_t exact = buckets / 2;
  const double span = std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const at::Tensor beyond = at::log(distance.clamp_min(1).to(at::kFloat) / static_cast<double>(exact)) / span;
  const at::Tensor shared = exact + (beyond * static_cast<double>(buckets - exact)).to(at::kLong);
  return at::where(distance < exact, distance, shared.clamp_max(buckets - 1));
}

}  // namespace

at::Tensor CausalBias(int64_t first, int64_t tokens, int64_t window, at::Device device) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  const at::Tensor none = at::full({1, 1, tokens, first + tokens}, -std::numeric_limits<float>::infinity(), options);
  // triu and tril set what they remove to zero.
  at::Tensor bias = none.triu(first + 1);
  if (window > 0) bias = bias + none.tril(first - window);
  return bias;
}

at::Tensor WindowBias(int64_t tokens, int64_t window, at::Device device) {
  const at::Tensor none = at::full({1, 1, tokens, tokens}, -std::numeric_limits<float>::infinity(),
                                   at::TensorOptions(at::kFloat).device(device));
  return none.triu(window + 1) + none.tril(-window - 1);
}

at::Tensor SinusoidalPositions(const at::Tensor& places, const ModelConfig& config) {
  const at::TensorOptions wide = places.options().dtype(at::kDouble);
  const at::Tensor pairs = at::arange(config.hidden_size / 2, wide);
  const at::Tensor frequencies = at::exp(pairs * (-std::log(10000.0) / config.sinusoidal.divisor));
  const at::Tensor angles = (places + config.position_offset).to(at::kDouble).unsqueeze(-1) * frequencies;
  return at::cat({angles.sin(), angles.cos()}, -1).to(at::kFloat);
}

at::Tensor RelativePositionBias(const at::Tensor& table, const RelativeBiasConfig& config, int64_t first,
                                int64_t tokens, bool bidirectional) {
  const at::Tensor place = at::arange(first + tokens, table.options().dtype(at::kLong));
  const at::Tensor ahead = place.unsqueeze(0) - place.narrow(0, first, tokens).unsqueeze(1);  // [query, key]
  const int64_t buckets = bidirectional ? config.buckets / 2 : config.buckets;
  const at::Tensor distance = bidirectional ? ahead.abs() : ahead.neg().clamp_min(0);
  at::Tensor bucket = DistanceBuckets(distance, buckets, config.max_distance);
  if (bidirectional) bucket = bucket + buckets * ahead.gt(0);
  const at::Tensor bias = at::embedding(table.to(at::kFloat), bucket).permute({2, 0, 1}).unsqueeze(0);
  return bidirectional ? bias : bias + CausalBias(first, tokens, 0, table.device());
}

at::Tensor AlibiSlopes(int64_t heads) {
  const auto whole = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<double> slopes;
  const double base = std::exp2(-8.0 / static_cast<double>(whole));
  for (int64_t head = 1; head <= whole; ++head) slopes.push_back(std::pow(base, static_cast<double>(head)));
  const double half_base = std::exp2(-4.0 / static_cast<double>(whole));
  for (int64_t head = 0; head < heads - whole; ++head) {
    slopes.push_back(std::pow(half_base, static_cast<double>(2 * head + 1)));
  }
  return at::tensor(slopes, at::kDouble).to(at::kFloat);
}

at::Tensor MakePositionBias(const ModelConfig& config, const AttentionKind& kind, int64_t first, int64_t tokens,
                            at::Device device) {
  const int64_t read = first + tokens;
  const bool windowed = kind.TokensSeen(read) < read;
  if (!windowed && !config.alibi) return {};
  at::Tensor bias = CausalBias(first, tokens, windowed ? kind.sliding_window : 0, device);
  if (config.alibi) {
    // Adding a constant to a row of logits does not change attention, so the key's position is sufficient.
    const at::Tensor distance = at::arange(read, at::kFloat).view({1, 1, 1, read}) - static_cast<double>(read - 1);
    bias = bias + (AlibiSlopes(config.heads).view({1, config.heads, 1, 1}) * distance).to(device);
  }
  return bias;
}

std::vector<RotaryTable> MakeRotaryTables(const ModelConfig& config, int64_t tokens, at::Device device,
                                          at::ScalarType dtype) {
  std::vector<RotaryTable> tables;
  for (const AttentionKind& kind : config.kinds) {
    tables.push_back(MakeRotaryTable(kind.rotary, tokens, device, dtype));
  }
  return tables;
}

at::Tensor WithinDocuments(const at::Tensor& bias, const at::Tensor& documents_BT) {
  const at::Tensor apart = documents_BT.unsqueeze(1).ne(documents_BT.unsqueeze(2)).unsqueeze(1);
  const at::Tensor causal = bias.defined() ? bias : CausalBias(0, documents_BT.size(1), 0, documents_BT.device());
  return causal.masked_fill(apart, -std::numeric_limits<float>::infinity());
}

at::Tensor PlacesInDocuments(const at::Tensor& documents_BT) {
  const at::Tensor place = at::arange(documents_BT.size(1), documents_BT.options()).expand_as(documents_BT);
  const at::Tensor before = documents_BT.narrow(1, 0, 1).sub(1);
  const at::Tensor begins = documents_BT.diff(1, 1, before).ne(0);
  return place - std::get<0>((place * begins).cummax(1));
}

at::Tensor AttentionBias(const PositionTables& positions, const at::Tensor& head_order) {
  if (!head_order.defined() || !positions.bias.defined() || positions.bias.size(1) == 1) return positions.bias;
  return positions.bias.index_select(1, head_order);
}

}  // namespace regroup
