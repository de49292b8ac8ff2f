// Receives what a training publishes about its steps, beside the worker.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>

namespace regroup {

/// One call at a time; calls must not throw, and return soon, because training waits for them.
class MetricObserver {
 public:
  using Values = std::initializer_list<std::pair<std::string_view, double>>;

  virtual ~MetricObserver() = default;

  /// Receives values of one step. Steps count from 1.
  virtual void AddValues(int64_t step, Values values) = 0;
  /// Receives all values of one kind after a step, such as those of the gates.
  virtual void AddHistogram(int64_t step, std::string_view name, std::span<const double> values) = 0;
  /// Training continues after `step`: values of later steps, which another attempt may have published, are void.
  virtual void ContinueAfter(int64_t step) = 0;
};

}  // namespace regroup
