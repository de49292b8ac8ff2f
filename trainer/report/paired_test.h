// Two models on the same items: is the difference more than chance? Pure functions.
#pragma once

#include <cstdint>
#include <vector>

namespace regroup {

/// Right answers of two models on the same questions. Items that both answer alike say nothing about the difference;
/// McNemar's exact test asks whether the others fall to one side more often than a fair coin would.
struct PairedAnswers {
  int64_t items = 0;
  int64_t only_first_right = 0;
  int64_t only_second_right = 0;

  /// Accuracy of the second less that of the first, and its standard error over items.
  double Difference() const;
  double StandardError() const;
  /// Probability of a split at least as uneven if both were equally good; 1 where no item differs.
  double PValue() const;
};

PairedAnswers CompareAnswers(const std::vector<bool>& first_right, const std::vector<bool>& second_right);

/// Mean of second[i] - first[i] and its standard error; both 0 without items.
struct PairedMean {
  double difference = 0;
  double standard_error = 0;
};

/// For lists of the same length.
PairedMean CompareMeans(const std::vector<double>& first, const std::vector<double>& second);

}  // namespace regroup
