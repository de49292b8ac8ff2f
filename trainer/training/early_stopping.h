// Decides when a training has stopped improving, by its measured perplexities. One thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>

#include "absl/status/status.h"

namespace regroup {

class EarlyStopping {
 public:
  /// Stops after this many measurements in a row that were not below the best one; 0 never stops.
  explicit EarlyStopping(int64_t patience) : patience_(patience) {}

  /// Adds the measurement after a step. A perplexity that is not a number is below none.
  void Add(int64_t step, double perplexity);
  bool stops() const { return patience_ > 0 && without_better_ >= patience_; }

  /// Returns the lowest perplexity so far, infinity before the first, and its step.
  double best() const { return best_; }
  int64_t best_step() const { return best_step_; }

  /// Returns what Load restores, for a checkpoint: float64 [3].
  at::Tensor State() const;
  /// DATA_LOSS if the tensor is not one of State.
  absl::Status Load(const at::Tensor& state);

 private:
  int64_t patience_;
  double best_ = std::numeric_limits<double>::infinity();
  int64_t best_step_ = 0;
  /// Measurements since then.
  int64_t without_better_ = 0;
};

}  // namespace regroup
