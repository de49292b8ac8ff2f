// Measures likeness by the negative energy that `principal` would discard if the two heads alone were merged: the sum
// of the smaller half of the eigenvalues of [S_i G_ii S_i, S_i G_ij S_j; ., S_j G_jj S_j] (methods/principal.cc). A
// rotary pair's error counts half, because the logit is the real part of a complex product whose angle depends on the
// distance of the tokens.
#include <ATen/ATen.h>

#include "trainer/alignment/metric_root.h"
#include "trainer/alignment/registry.h"
#include "trainer/alignment/similarities/pairwise.h"

namespace regroup {
namespace {

// Returns tr(S_i G_ii S_i), [H].
at::Tensor WeightedTraces(const at::Tensor& gram, const at::Tensor& metric) {
  const auto diagonal = gram.diagonal(0, 0, 2).permute({2, 0, 1});
  return (diagonal * metric).sum({1, 2});
}

Similarity::Matrix LinearResiduals(const at::Tensor& gram, const at::Tensor& metric) {
  const int64_t heads = gram.size(0);
  const int64_t width = gram.size(1);
  const auto self = WeightedTraces(gram, metric);
  if (width == 0) return {at::zeros({heads, heads}, at::kDouble), self};
  const auto weighted = WeightedGram(gram, RootOfMetric(metric).root).view({heads, width, heads, width});
  const auto discarded = ForPairsOfHeads(heads, width, [&](int64_t i, int64_t j) {
    const auto both = at::tensor({i, j}, at::kLong);
    const auto block = weighted.index_select(0, both).index_select(2, both).reshape({2 * width, 2 * width});
    return at::linalg_eigvalsh(block).narrow(0, 0, width).sum().item<double>();
  });
  return {-discarded, self};
}

// Sums the smaller eigenvalue of [a, b; conj(b), c] over rotary pairs, for every pair of heads.
Similarity::Matrix PairResiduals(const at::Tensor& gram, const at::Tensor& energies) {
  const auto root = energies.sqrt().t();  // [pairs, H]
  const auto weighted = gram * (root.unsqueeze(2) * root.unsqueeze(1));
  const auto self = at::real(weighted.diagonal(0, 1, 2));  // [pairs, H]
  const auto a = self.unsqueeze(2);
  const auto c = self.unsqueeze(1);
  const auto smaller = 0.5 * (a + c) - (0.25 * (a - c).square() + weighted.abs().square()).sqrt();
  return {-0.5 * smaller.sum(0), 0.5 * self.sum(0)};
}

Similarity::Matrix ResidualOfValues(const LayerGrams& grams) {
  return LinearResiduals(grams.value, grams.output_metric);
}

// Returns the loss of keys behind a norm, which can only be turned and averaged: (w_i + w_j) / 4 E|k_i - k_j|^2 of each
// rotary pair, and the same with the metrics of the other coordinates.
Similarity::Matrix ResidualOfAverages(const LayerGrams& grams) {
  const auto self = at::real(grams.key_pairs.diagonal(0, 1, 2));  // [pairs, H]
  const auto apart = self.unsqueeze(2) + self.unsqueeze(1) - 2 * TurnedPairs(grams.key_pairs, grams.turns);
  const auto weights = grams.query_pair_energy.t();
  auto lost = 0.125 * ((weights.unsqueeze(2) + weights.unsqueeze(1)) * apart).sum(0);
  const auto block = [&](int64_t i, int64_t j) { return grams.key_free.select(0, i).select(1, j); };
  const auto signs = [&](int64_t i, int64_t j) {
    const auto products = block(i, j).diagonal();
    return grams.turns.signs ? at::where(products < 0, -1.0, 1.0) : at::ones_like(products);
  };
  lost += ForPairsOfHeads(lost.size(0), grams.key_free.size(1), [&](int64_t i, int64_t j) {
    const auto turn = signs(i, j);
    const auto free =
        block(i, i) + turn.unsqueeze(1) * block(j, j) * turn - block(i, j) * turn - turn.unsqueeze(1) * block(j, i);
    return 0.25 * ((grams.query_free[i] + grams.query_free[j]) * free).sum().item<double>();
  });
  return {-lost, 0.5 * (weights * self).sum(0) + WeightedTraces(grams.key_free, grams.query_free)};
}

Similarity::Matrix ResidualOfKeys(const LayerGrams& grams) {
  if (grams.shape.key_norm != KeyNorm::kNone) return ResidualOfAverages(grams);
  const auto pairs = PairResiduals(grams.key_pairs, grams.query_pair_energy);
  const auto free = LinearResiduals(grams.key_free, grams.query_free);
  return {pairs.pairs + free.pairs, pairs.self + free.self};
}

}  // namespace

extern const Similarity kResidualSimilarity{
    .name = "residual",
    .summary = "negative energy that merging two heads by principal components would lose",
    .unit_grams = false,
    .of_values = ResidualOfValues,
    .of_keys = ResidualOfKeys,
};

}  // namespace regroup
