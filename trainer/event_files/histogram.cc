#include "trainer/event_files/histogram.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <vector>

namespace regroup {
namespace {

constexpr size_t kBuckets = 30;

/// Returns the ends of the buckets between two values.
std::vector<double> BucketLimits(double least, double greatest) {
  if (least == greatest) return {greatest};
  std::vector<double> limits;
  for (size_t bucket = 1; bucket < kBuckets; ++bucket) {
    limits.push_back(least + (greatest - least) * static_cast<double>(bucket) / static_cast<double>(kBuckets));
  }
  limits.push_back(greatest);
  return limits;
}

}  // namespace

tensorboard::HistogramProto CountByBuckets(std::span<const double> values) {
  tensorboard::HistogramProto histogram;
  std::vector<double> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite),
               [](double value) { return std::isfinite(value); });
  if (finite.empty()) return histogram;
  const auto [least, greatest] = std::minmax_element(finite.begin(), finite.end());
  histogram.set_min(*least);
  histogram.set_max(*greatest);
  const std::vector<double> limits = BucketLimits(*least, *greatest);
  std::vector<double> counts(limits.size());
  double sum = 0, squares = 0;
  for (const double value : finite) {
    const auto bucket = static_cast<size_t>(std::upper_bound(limits.begin(), limits.end(), value) - limits.begin());
    counts[std::min(bucket, limits.size() - 1)] += 1;
    sum += value;
    squares += value * value;
  }
  histogram.set_num(static_cast<double>(finite.size()));
  histogram.set_sum(sum);
  histogram.set_sum_squares(squares);
  histogram.mutable_bucket_limit()->Add(limits.begin(), limits.end());
  histogram.mutable_bucket()->Add(counts.begin(), counts.end());
  return histogram;
}

}  // namespace regroup
