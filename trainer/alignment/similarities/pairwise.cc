#include "trainer/alignment/similarities/pairwise.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "trainer/alignment/parallel_tasks.h"

namespace regroup {
namespace {

// The methods multiply Grams with one another: one whose squares overflow has no norm, so that AlignLayer refuses it.
double NuclearNorm(const at::Tensor& matrix) {
  if (!std::isfinite(matrix.square().sum().item<double>())) return std::numeric_limits<double>::quiet_NaN();
  return at::linalg_svdvals(matrix).sum().item<double>();
}

}  // namespace

at::Tensor ForPairsOfHeads(int64_t heads, int64_t width, const std::function<double(int64_t, int64_t)>& figure) {
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t i = 0; i < heads; ++i) {
    for (int64_t j = i + 1; j < heads; ++j) pairs.emplace_back(i, j);
  }
  auto matrix = at::zeros({heads, heads}, at::kDouble);
  double* const entries = matrix.mutable_data_ptr<double>();
  ParallelTasks(static_cast<int64_t>(pairs.size()), width, [&](int64_t task) {
    const auto [i, j] = pairs[task];
    entries[i * heads + j] = entries[j * heads + i] = figure(i, j);
  });
  return matrix;
}

at::Tensor BlockNuclearNorms(const at::Tensor& gram) {
  if (gram.numel() == 0) return at::zeros({gram.size(0), gram.size(0)}, at::kDouble);
  return ForPairsOfHeads(gram.size(0), gram.size(1),
                         [&](int64_t i, int64_t j) { return NuclearNorm(gram.select(0, i).select(1, j)); });
}

at::Tensor BlockTraces(const at::Tensor& gram) { return gram.diagonal(0, 0, 2).diagonal(0, 0, 1).sum(1); }

at::Tensor PairModuli(const at::Tensor& gram) { return gram.abs().sum(0); }

at::Tensor TurnedPairs(const at::Tensor& pairs, const KeyTurns& turns) {
  const at::Tensor real = at::real(pairs);
  const at::Tensor fixed = turns.signs ? real.abs() : real;
  if (!turns.phases.defined()) return fixed;
  return at::where(turns.phases.unsqueeze(1).logical_and(turns.phases.unsqueeze(2)), pairs.abs(), fixed);
}

at::Tensor TurnedCoordinates(const at::Tensor& free, const KeyTurns& turns) {
  const at::Tensor products = free.diagonal(0, 1, 3).permute({2, 0, 1});
  return turns.signs ? products.abs() : products;
}

at::Tensor KeyInnerProducts(const at::Tensor& pairs, const at::Tensor& free, const LayerGrams& of_layer) {
  if (of_layer.shape.key_norm == KeyNorm::kNone) return PairModuli(pairs) + BlockNuclearNorms(free);
  return TurnedPairs(pairs, of_layer.turns).sum(0) + TurnedCoordinates(free, of_layer.turns).sum(0);
}

at::Tensor PairTraces(const at::Tensor& gram) { return at::real(gram.diagonal(0, 1, 2)).sum(0); }

}  // namespace regroup
