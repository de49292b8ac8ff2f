// Implements the L0 gates that move each original KV head into its group's shared head (Louizos et al., 2018, with the
// paper's constants). All tensors hold one entry per gate; scores are in units of the paper's alpha (1e-3), so they are
// near +2 when open and -8 when permanently closed. Pure functions; the scores belong to the optimizer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace regroup {

/// Initial score of every gate, and the bound of all scores.
inline constexpr double kOpenScore = 2.0;
inline constexpr double kScoreBound = 8.0;

/// Returns z = clamp01(0.5 + 1.005 (sigmoid(logit(u) + 3 score) - 0.5)); the gradient passes straight through the
/// clamp. `uniform` is u in (0, 1), of the same shape; 0.5 without noise. 1 keeps the original head, 0 selects the
/// shared head.
at::Tensor GateValues(const at::Tensor& scores, const at::Tensor& uniform);

/// Returns the same for u = 0.5.
at::Tensor GateValuesWithoutNoise(const at::Tensor& scores);

/// Returns P(z = 0) of the hard-concrete distribution, for u uniform in (0, 1). Differentiable.
at::Tensor ClosedProbability(const at::Tensor& scores);

/// Returns u of one step, 0.5 +- 0.1, from the seed and the step only: the same on every rank and after a restart.
at::Tensor GateNoise(int64_t gates, uint64_t seed, int64_t step);

/// Schedule of the mean P(z = 0): rises linearly to 1 over the first `warm_up` share of the steps.
struct SparsitySchedule {
  int64_t steps = 1;
  double warm_up = 0.3;
  /// Every gate is closed from this share of the steps on.
  double shut = 0.8;

  double TargetAt(int64_t step) const;
  bool ShutAt(int64_t step) const;
};

/// Returns |S - T| + (S - T)^2 for S = mean P(z = 0). Differentiable in the scores.
at::Tensor SparsityPenalty(const at::Tensor& scores, double target);

/// Keeps the sparsity on schedule, in place: the gates with the lowest scores, as many as `target` requires, move the
/// share 1 - `keep` of the way to closed; the others are pulled back towards open. All stay within the bound.
void SteerScores(at::Tensor& scores, double target, double keep = 0.8);

}  // namespace regroup
