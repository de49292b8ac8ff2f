#include "trainer/report/paired_test.h"

#include <algorithm>
#include <cmath>

namespace regroup {
namespace {

/// Returns the logarithm of n choose k.
double LogChoose(int64_t n, int64_t k) {
  const auto log_factorial = [](int64_t m) { return std::lgamma(static_cast<double>(m) + 1.0); };
  return log_factorial(n) - log_factorial(k) - log_factorial(n - k);
}

}  // namespace

double PairedAnswers::Difference() const {
  if (items == 0) return 0;
  return static_cast<double>(only_second_right - only_first_right) / static_cast<double>(items);
}

double PairedAnswers::StandardError() const {
  if (items < 2) return 0;
  const auto count = static_cast<double>(items);
  // Each item's difference is -1, 0 or 1.
  const double mean_square = static_cast<double>(only_first_right + only_second_right) / count;
  return std::sqrt((mean_square - Difference() * Difference()) / (count - 1.0));
}

double PairedAnswers::PValue() const {
  const int64_t differing = only_first_right + only_second_right;
  const int64_t fewer = std::min(only_first_right, only_second_right);
  double tail = 0;
  for (int64_t k = 0; k <= fewer; ++k) {
    tail += std::exp(LogChoose(differing, k) - static_cast<double>(differing) * std::log(2.0));
  }
  return std::min(1.0, 2.0 * tail);
}

PairedAnswers CompareAnswers(const std::vector<bool>& first_right, const std::vector<bool>& second_right) {
  PairedAnswers answers;
  answers.items = static_cast<int64_t>(std::min(first_right.size(), second_right.size()));
  for (int64_t item = 0; item < answers.items; ++item) {
    answers.only_first_right += first_right[item] && !second_right[item];
    answers.only_second_right += second_right[item] && !first_right[item];
  }
  return answers;
}

PairedMean CompareMeans(const std::vector<double>& first, const std::vector<double>& second) {
  const size_t count = std::min(first.size(), second.size());
  PairedMean result;
  if (count == 0) return result;
  double squares = 0;
  for (size_t i = 0; i < count; ++i) result.difference += (second[i] - first[i]) / static_cast<double>(count);
  for (size_t i = 0; i < count; ++i) squares += std::pow(second[i] - first[i] - result.difference, 2);
  if (count > 1) result.standard_error = std::sqrt(squares / static_cast<double>(count * (count - 1)));
  return result;
}

}  // namespace regroup
