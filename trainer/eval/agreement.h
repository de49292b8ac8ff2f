// How closely a model follows another one on text: does it expect the same next token, and how far apart are the
// distributions?
#pragma once

#include <functional>

#include "trainer/data/token_windows.h"
#include "trainer/nn/model.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct Agreement {
  /// Mean over positions of KL(reference || model), nats.
  double mean_kl = 0;
  /// Share of positions where both find the same token most likely.
  double same_top_token = 0;
  int64_t positions = 0;
};

/// Over the first `max_windows` windows (0: all), which the ranks share; all get the whole result. Sums are float64.
/// `progress` is called with the windows done so far.
absl::StatusOr<Agreement> MeasureAgreement(const Model& reference, const Model& model, const TokenWindows& windows,
                                           int64_t max_windows, at::Device device, Communicator& communicator,
                                           const std::function<void(int64_t)>& progress);

}  // namespace regroup
