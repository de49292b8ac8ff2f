#include "trainer/training/rank_times.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace regroup {

at::Tensor RankTimes::Share() const {
  at::Tensor share = at::zeros({ranks_}, at::kDouble);
  share[rank_] = seconds_;
  return share;
}

std::optional<RankTimes::Figures> RankTimes::Judge(const at::Tensor& sums) {
  const double* const seconds = sums.const_data_ptr<double>();
  std::vector<double> sorted(seconds, seconds + ranks_);
  const auto slowest = std::max_element(sorted.begin(), sorted.end());
  Figures figures{.slowest_rank = slowest - sorted.begin(), .slowest_seconds = *slowest};
  const auto middle = sorted.begin() + (ranks_ - 1) / 2;
  std::nth_element(sorted.begin(), middle, sorted.end());
  figures.median_seconds = *middle;
  if (ranks_ == 1 || figures.slowest_seconds <= 0) return std::nullopt;
  const bool lags = figures.slowest_seconds > kFactor * figures.median_seconds;
  const bool goes_on = lags && std::exchange(lagging_rank_, figures.slowest_rank) == figures.slowest_rank;
  lagging_steps_ = goes_on ? lagging_steps_ + 1 : (lags ? 1 : 0);
  figures.lags = lagging_steps_ == kSteps;
  return figures;
}

}  // namespace regroup
