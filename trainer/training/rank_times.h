// Compares how long the ranks of a gang compute in each step, since a step takes as long as the slowest of them. One
// thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace regroup {

class RankTimes {
 public:
  RankTimes(int rank, int ranks) : rank_(rank), ranks_(ranks) {}

  /// Sets the seconds of the last step in which this rank computed and did not wait for others.
  void Note(double seconds) { seconds_ = seconds; }

  /// Returns float64 [ranks] on the CPU with these seconds in this rank's place, and 0 in the others, to be summed over
  /// ranks.
  at::Tensor Share() const;

  struct Figures {
    int64_t slowest_rank = 0;
    double slowest_seconds = 0;
    /// Is the lower of the middle two for an even number of ranks.
    double median_seconds = 0;
    /// The slowest rank has been the same for kSteps, and slower by kFactor than the median: true once for each time
    /// that this begins.
    bool lags = false;
  };
  static constexpr int kSteps = 20;
  static constexpr double kFactor = 1.25;

  /// Returns the figures of the sums; nullopt for a gang of one, and before the first step.
  std::optional<Figures> Judge(const at::Tensor& sums);

 private:
  int rank_, ranks_;
  double seconds_ = 0;
  int64_t lagging_rank_ = -1;
  int lagging_steps_ = 0;
};

}  // namespace regroup
