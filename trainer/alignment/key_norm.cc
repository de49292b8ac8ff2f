#include "trainer/alignment/key_norm.h"

#include <ATen/ATen.h>

#include <cmath>

namespace regroup {
namespace {

/// Holds the moments of a projection's input over the calibration tokens: E x^T x and E x.
struct Input {
  at::Tensor moment;
  at::Tensor mean;
};

Input KeyInput(const LayerStatistics& statistics) {
  const double tokens = statistics.Tokens();
  return {statistics.InputMoment().cpu() / tokens, statistics.InputSum().cpu() / tokens};
}

Input QueryInput(const LayerStatistics& statistics) {
  const double tokens = statistics.QueryTokens();
  return {statistics.QueryMoment().cpu() / tokens, statistics.QuerySum().cpu() / tokens};
}

/// Returns E|W x|^2 for each row of the projection, with bias.
at::Tensor RowEnergies(const at::Tensor& weight, const at::Tensor& bias, const Input& input) {
  const at::Tensor rows = weight.to(at::kCPU, at::kDouble);
  at::Tensor energies = (rows.mm(input.moment) * rows).sum(1);
  if (bias.defined()) {
    const at::Tensor offset = bias.to(at::kCPU, at::kDouble);
    energies = energies + 2 * offset * rows.mv(input.mean) + offset.square();
  }
  return energies;
}

/// Returns the linear stand-in of a norm: one factor per row.
at::Tensor RowFactors(const at::Tensor& energies, const at::Tensor& norm, const AttentionShape& shape) {
  const at::Tensor weight = norm.to(at::kCPU, at::kDouble);
  if (shape.key_norm == KeyNorm::kAllHeads) return weight * energies.mean().clamp_min(1e-30).rsqrt();
  const at::Tensor by_head = energies.view({-1, shape.head_width});
  return (weight * by_head.mean(1, true).clamp_min(1e-30).rsqrt()).flatten();
}

void ScaleRows(at::Tensor& weight, at::Tensor& bias, const at::Tensor& factors) {
  weight = weight.to(at::kCPU, at::kDouble) * factors.unsqueeze(1);
  if (bias.defined()) bias = bias.to(at::kCPU, at::kDouble) * factors;
}

}  // namespace

AttentionWeights LineariseNorms(const AttentionWeights& weights, const AttentionShape& shape,
                                const LayerStatistics& statistics) {
  if (shape.key_norm == KeyNorm::kNone) return weights;
  const Input of_keys = KeyInput(statistics);
  const Input of_queries = shape.cross_attention ? QueryInput(statistics) : of_keys;
  AttentionWeights linear = weights;
  ScaleRows(linear.query, linear.query_bias,
            RowFactors(RowEnergies(weights.query, weights.query_bias, of_queries), weights.query_norm, shape));
  ScaleRows(linear.key, linear.key_bias,
            RowFactors(RowEnergies(weights.key, weights.key_bias, of_keys), weights.key_norm, shape));
  return linear;
}

void AverageKeys(LayerAlignment& alignment, const AttentionShape& shape) {
  const double share = 1.0 / static_cast<double>(alignment.GroupSize());
  const at::Tensor one = at::tensor({1.0, 0.0}, at::kDouble);
  alignment.key_pairs_align = alignment.query_pairs = one.expand_as(alignment.key_pairs_align).contiguous();
  alignment.key_pairs_merge = alignment.key_pairs_align * share;
  const at::Tensor free = at::eye(shape.FreeWidth(), at::kDouble).repeat({shape.kv_heads, 1, 1});
  alignment.key_free_align = alignment.query_free = free;
  alignment.key_free_merge = free * share;
}

void EqualiseKeys(LayerAlignment& alignment, const AttentionWeights& weights, const AttentionShape& shape) {
  const at::Tensor sizes =
      weights.key.to(at::kCPU, at::kDouble).reshape({shape.kv_heads, -1}).square().sum(1).sqrt().clamp_min(1e-30);
  at::Tensor factors = at::ones_like(sizes);
  for (const auto& group : alignment.Groups()) {
    const at::Tensor heads = at::tensor(group, at::kLong);
    const at::Tensor own = sizes.index_select(0, heads);
    factors.index_copy_(0, heads, own.mean() / own);
  }
  alignment.key_pairs_merge = alignment.key_pairs_merge * factors.view({-1, 1, 1});
  alignment.key_free_merge = alignment.key_free_merge * factors.view({-1, 1, 1});
}

MergedKeys MergeKeysUnderSharedNorm(const at::Tensor& rows, const at::Tensor& norm, int64_t groups) {
  const int64_t heads = rows.size(0);
  const at::Tensor weight = norm.to(at::kCPU, at::kDouble).view({groups, heads / groups, -1});
  const at::Tensor mean = (rows.view({groups, heads / groups, rows.size(1), -1}) * weight.unsqueeze(3)).mean(1);
  const at::Tensor typical = weight.square().mean(1).sqrt();  // [groups, width]
  MergedKeys merged;
  merged.rows = mean / typical.clamp_min(1e-12).unsqueeze(2);
  const double before = rows.square().sum({1, 2}).mean().item<double>();
  const double after = merged.rows.square().sum({1, 2}).mean().item<double>();
  merged.norm = (typical * (before > 0 ? std::sqrt(after / before) : 1)).flatten();
  return merged;
}

}  // namespace regroup
