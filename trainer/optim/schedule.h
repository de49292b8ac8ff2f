// Learning rate over the steps of a training: linear warm-up, then half a cosine or a straight line to the final rate.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace regroup {

enum class RateDecay { kCosine, kLinear };

struct RateSchedule {
  double peak = 1e-5;
  int64_t steps = 1;
  int64_t warm_up_steps = 32;
  /// Rate at the end, relative to the peak.
  double final_ratio = 0.0;
  RateDecay decay = RateDecay::kCosine;

  /// Returns the rate of step `step`, counted from 0.
  double At(int64_t step) const {
    const int64_t warm_up = std::min(warm_up_steps, std::max<int64_t>(1, steps / 4));
    if (step < warm_up) return peak * static_cast<double>(step + 1) / static_cast<double>(warm_up);
    const double done =
        static_cast<double>(step - warm_up) / static_cast<double>(std::max<int64_t>(1, steps - warm_up));
    const double left = decay == RateDecay::kLinear ? 1.0 - std::min(1.0, done)
                                                    : 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(1.0, done)));
    return peak * (final_ratio + (1.0 - final_ratio) * left);
  }
};

}  // namespace regroup
