#include "trainer/nn/positions.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>
#include <limits>

namespace regroup {
namespace {

/// [1, 1, tokens, first + tokens]: 0 where a token may look, minus infinity elsewhere. A window of 0 tokens means all.
at::Tensor CausalMask(int64_t first, int64_t tokens, int64_t window) {
  at::Tensor allowed = at::ones({tokens, first + tokens}, at::kBool).tril(first);
  if (window > 0) allowed = allowed.triu(first + 1 - window);
  return at::zeros(allowed.sizes(), at::kFloat)
      .masked_fill(allowed.logical_not(), -std::numeric_limits<float>::infinity())
      .view({1, 1, tokens, first + tokens});
}

}  // namespace

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

at::Tensor MakePositionBias(const ModelConfig& config, int64_t first, int64_t tokens, at::Device device) {
  const int64_t read = first + tokens;
  const bool windowed = config.sliding_window > 0 && read > config.sliding_window;
  if (!windowed && !config.alibi) return {};
  at::Tensor bias = CausalMask(first, tokens, windowed ? config.sliding_window : 0);
  if (config.alibi) {
    // A constant per row changes nothing, so that the key's position alone will do.
    const at::Tensor distance = at::arange(read, at::kFloat).view({1, 1, 1, read}) - static_cast<double>(read - 1);
    bias = bias + AlibiSlopes(config.heads).view({1, config.heads, 1, 1}) * distance;
  }
  return bias.to(device);
}

PositionTables MakePositionTables(const ModelConfig& config, int64_t tokens, at::Device device) {
  PositionTables positions;
  if (config.rotary.width > 0) positions.rotary = MakeRotaryTable(config.rotary, tokens, device);
  positions.bias = MakePositionBias(config, 0, tokens, device);
  return positions;
}

at::Tensor AttentionBias(const PositionTables& positions, const at::Tensor& head_order) {
  if (!head_order.defined() || !positions.bias.defined() || positions.bias.size(1) == 1) return positions.bias;
  return positions.bias.index_select(1, head_order);
}

}  // namespace regroup
