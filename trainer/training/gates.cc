#include "trainer/training/gates.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "trainer/data/shuffled_order.h"

namespace regroup {
namespace {

// z = 0 where sigmoid(...) <= 0.5 - 0.5 / 1.005: kStretch widens (0, 1) so that both ends have probability.
constexpr double kStretch = 1.005;
// The distribution's temperature is alpha / 3, and scores are in units of alpha.
constexpr double kSlope = 3.0;

double ClosedLogit() {
  const double threshold = 0.5 - 0.5 / kStretch;
  return std::log(threshold / (1.0 - threshold));
}

}  // namespace

at::Tensor GateValues(const at::Tensor& scores, const at::Tensor& uniform) {
  const at::Tensor stretched = 0.5 + kStretch * (at::sigmoid(at::logit(uniform) + kSlope * scores) - 0.5);
  return stretched + (stretched.clamp(0.0, 1.0) - stretched).detach();
}

at::Tensor GateValuesWithoutNoise(const at::Tensor& scores) { return GateValues(scores, at::full_like(scores, 0.5)); }

at::Tensor ClosedProbability(const at::Tensor& scores) { return at::sigmoid(ClosedLogit() - kSlope * scores); }

at::Tensor GateNoise(int64_t gates, uint64_t seed, int64_t step) {
  SplitMix64 random(seed * 0x9e3779b97f4a7c15ULL + static_cast<uint64_t>(step));
  at::Tensor uniform = at::empty({gates}, at::kFloat);
  float* values = uniform.mutable_data_ptr<float>();
  for (int64_t gate = 0; gate < gates; ++gate) {
    const double unit = static_cast<double>(random.Next() >> 11) * 0x1.0p-53;
    values[gate] = static_cast<float>(0.4 + 0.2 * unit);
  }
  return uniform;
}

double SparsitySchedule::TargetAt(int64_t step) const {
  const double rise = std::max(1.0, warm_up * static_cast<double>(steps));
  return std::min(1.0, static_cast<double>(step + 1) / rise);
}

bool SparsitySchedule::ShutAt(int64_t step) const {
  return static_cast<double>(step) >= shut * static_cast<double>(steps);
}

at::Tensor SparsityPenalty(const at::Tensor& scores, double target) {
  const at::Tensor difference = ClosedProbability(scores).mean() - target;
  return difference.abs() + difference.square();
}

void SteerScores(at::Tensor& scores, double target, double keep) {
  at::NoGradGuard no_gradients;
  const int64_t closing = std::llround(target * static_cast<double>(scores.numel()));
  const at::Tensor order = scores.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor aim = at::full_like(scores, kOpenScore);
  aim.index_fill_(0, order.narrow(0, 0, closing), -kScoreBound);
  const at::Tensor pulled = aim + keep * (scores - aim);
  // A gate that must stay open may be above the opening score.
  const at::Tensor open = (aim > 0).logical_and(scores > aim);
  scores.copy_(at::where(open, scores, pulled).clamp(-kScoreBound, kScoreBound));
}

}  // namespace regroup
