// Tests whether the difference of two models on the same items is significant. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

namespace regroup {

/// Correct answers of two models to the same questions. Items that both answer alike contain no information about the
/// difference; McNemar's exact test asks whether the others favour one side more often than a fair coin would.
struct PairedAnswers {
  int64_t items = 0;
  int64_t only_first_right = 0;
  int64_t only_second_right = 0;

  /// Returns the accuracy of the second model minus that of the first, and its standard error over items.
  double Difference() const;
  double StandardError() const;
  /// Returns the probability of a split at least as uneven if both were equally good; 1 if no item differs.
  double PValue() const;
};

PairedAnswers CompareAnswers(const std::vector<bool>& first_right, const std::vector<bool>& second_right);

/// Mean of second[i] - first[i] and its standard error; both 0 without items.
struct PairedMean {
  double difference = 0;
  double standard_error = 0;
};

/// Compares lists of the same length.
PairedMean CompareMeans(const std::vector<double>& first, const std::vector<double>& second);

}  // namespace regroup
