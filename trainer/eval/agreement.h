// Measures how closely a model follows another one on text: how often both predict the same next token, and how far
// apart their distributions are.
#pragma once

#include <functional>

#include "trainer/data/token_windows.h"
#include "trainer/nn/model.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct Agreement {
  /// Mean over positions of KL(reference || model), in nats.
  double mean_kl = 0;
  /// Share of positions where both models predict the same token.
  double same_top_token = 0;
  int64_t positions = 0;
};

/// Measures over the first `max_windows` windows (0: all), which the ranks share; every rank gets the whole result.
/// Sums are float64. `progress` is called with the number of windows done.
absl::StatusOr<Agreement> MeasureAgreement(const Model& reference, const Model& model, const TokenWindows& windows,
                                           int64_t max_windows, at::Device device, Communicator& communicator,
                                           const std::function<void(int64_t)>& progress);

}  // namespace regroup
