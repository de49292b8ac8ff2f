#include "trainer/alignment/key_norm.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "trainer/alignment/generalised_procrustes.h"

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

/// Returns bool [heads, pairs]: whether the two weights of each pair are alike enough to turn it.
at::Tensor BalancedPairs(const at::Tensor& norm, int64_t heads, const AttentionShape& shape) {
  constexpr double kLargestRatio = 1.5;
  const at::Tensor weights = norm.to(at::kCPU, at::kDouble).view({-1, shape.head_width}).expand({heads, -1});
  const at::Tensor first = weights.index_select(1, FirstOfPairs(shape));
  const at::Tensor second = weights.index_select(1, SecondOfPairs(shape));
  const at::Tensor ratio = first / second;
  return at::logical_and(ratio > 1 / kLargestRatio, ratio < kLargestRatio);
}

/// Returns [n, heads] of -1 and 1 for symmetric matrices M [n, heads, heads]: signs s that make s^T M s large, of which
/// the first is 1.
at::Tensor SignsFor(const at::Tensor& agreement) {
  const int64_t heads = agreement.size(1);
  const at::Tensor between = agreement - at::diag_embed(agreement.diagonal(0, 1, 2));
  const at::Tensor leading = std::get<1>(at::linalg_eigh(between)).select(2, heads - 1);
  at::Tensor signs = at::where(leading < 0, -1.0, 1.0).to(at::kDouble);
  for (int64_t change = 0; change < 4 * heads; ++change) {
    // Negative where a head disagrees with the others.
    const at::Tensor with_others = at::bmm(between, signs.unsqueeze(2)).squeeze(2) * signs;
    const auto [least, head] = with_others.min(1, /*keepdim=*/true);
    if (least.min().item<double>() >= 0) break;
    signs.scatter_(1, head, signs.gather(1, head) * at::where(least < 0, -1.0, 1.0).to(at::kDouble));
  }
  return signs * signs.narrow(1, 0, 1);
}

/// Returns what TurnKeys' error gains from an inner product of heads i and j, [n, heads, heads], for query energies [n,
/// heads].
at::Tensor GainOfProducts(const at::Tensor& energies) {
  const auto heads = static_cast<double>(energies.size(1));
  const at::Tensor mean = energies.sum(1).view({-1, 1, 1}) / heads;
  return (energies.unsqueeze(1) + energies.unsqueeze(2) - mean) / heads;
}

/// Returns the complex numbers of one group's pairs, [heads, pairs].
at::Tensor PairTurns(const LayerGrams& group) {
  const at::Tensor products = group.key_pairs * GainOfProducts(group.query_pair_energy.t());
  at::Tensor turns = SignsFor(at::real(products).contiguous()).t().to(at::kComplexDouble);
  if (!group.turns.phases.defined()) return turns;
  const at::Tensor phases = AlignByPhases(products).maps;
  // A phase that all heads have in common changes nothing but the root mean square: least where they turn least, up to
  // signs.
  const at::Tensor common = phases.square().sum(0);
  const at::Tensor least = phases * at::polar(at::ones_like(at::real(common)), -0.5 * common.angle());
  return at::where(group.turns.phases.all(1), least, turns);
}

/// Returns the signs of one group's coordinates that do not rotate, [heads, coordinates].
at::Tensor CoordinateSigns(const LayerGrams& group) {
  const at::Tensor products = group.key_free.diagonal(0, 1, 3).permute({2, 0, 1});
  const at::Tensor energies = group.query_free.diagonal(0, 1, 2).t();
  return SignsFor((products * GainOfProducts(energies)).contiguous()).t();
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

KeyTurns KeyTurnsOf(const AttentionWeights& weights, const AttentionShape& shape, NormMaps maps) {
  KeyTurns turns{.signs = maps != NormMaps::kNone};
  if (maps != NormMaps::kPhases || shape.RotaryPairs() == 0) return turns;
  const at::Tensor queries = BalancedPairs(weights.query_norm, shape.query_heads, shape);
  turns.phases = queries.view({shape.kv_heads, shape.QueriesPerHead(), -1})
                     .all(1)
                     .logical_and(BalancedPairs(weights.key_norm, shape.kv_heads, shape))
                     .t();
  return turns;
}

void TurnKeys(LayerAlignment& alignment, const LayerGrams& grams) {
  if (!grams.turns.signs) return;
  const AttentionShape& shape = grams.shape;
  for (const std::vector<int64_t>& group : alignment.Groups()) {
    const at::Tensor heads = at::tensor(group, at::kLong);
    const LayerGrams own = grams.Select(group);
    if (shape.RotaryPairs() > 0) {
      const at::Tensor turns = at::view_as_real(PairTurns(own).resolve_conj().contiguous());
      alignment.key_pairs_align.index_copy_(0, heads, turns);
      alignment.key_pairs_merge.index_copy_(0, heads, turns / static_cast<double>(group.size()));
      alignment.query_pairs.index_copy_(0, heads, turns);
    }
    if (shape.FreeWidth() == 0) continue;
    const at::Tensor signs = at::diag_embed(CoordinateSigns(own));
    alignment.key_free_align.index_copy_(0, heads, signs);
    alignment.key_free_merge.index_copy_(0, heads, signs / static_cast<double>(group.size()));
    alignment.query_free.index_copy_(0, heads, signs);
  }
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
