// Measures how closely a model follows another one on text: how often both predict the same next token, and how far
// apart their distributions are.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
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

/// Keeps what the reference predicts on this rank's share of the windows: its hidden states before the output
/// projection, on the CPU, so that its other weights need not stay in memory beside those of the model that is compared
/// with it.
class ReferencePredictions {
 public:
  /// Runs the reference on the first `max_windows` windows (0: all), which the ranks share. `progress` is called with
  /// the number of windows done.
  ReferencePredictions(const Model& reference, const TokenWindows& windows, int64_t max_windows, at::Device device,
                       const Communicator& communicator, const std::function<void(int64_t)>& progress);

  /// Returns the number of windows of all ranks.
  int64_t windows() const { return windows_; }
  /// Returns the logarithms of the probabilities at every position of a window of this rank, [positions, vocabulary],
  /// float32.
  at::Tensor LogProbabilities(int64_t window) const;

 private:
  int64_t windows_ = 0;
  int64_t ranks_ = 1;
  at::Device device_;
  /// The configuration and the output projection alone.
  Model output_;
  /// [positions, hidden size] for each window of this rank.
  std::vector<at::Tensor> hidden_;
};

/// Measures over the reference's windows; every rank gets the whole result. Sums are float64. `progress` is called with
/// the number of windows done.
absl::StatusOr<Agreement> MeasureAgreement(const ReferencePredictions& reference, const Model& model,
                                           const TokenWindows& windows, at::Device device, Communicator& communicator,
                                           const std::function<void(int64_t)>& progress);

}  // namespace regroup
