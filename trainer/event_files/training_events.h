// Writes what a training publishes to a TensorBoard event file.
//
// Each attempt has a file of its own in the folder of the run; its name begins with the attempt's number, so that
// TensorBoard reads the files in order. Before the values of its first step a file tells TensorBoard to drop what
// earlier files hold of this step and later ones.
//
// A file stays small: a series with many steps is thinned. If a file cannot be written, training goes on: a warning is
// logged, and the attempt writes no more events. Called by one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "trainer/event_files/event_file.h"
#include "trainer/link/metric_observer.h"

namespace regroup {

struct EventFileSettings {
  /// The folder of the run.
  std::filesystem::path folder;
  /// Number of the attempt.
  int64_t epoch = 1;
  /// Steps of the whole training: each series has at most 10,000 points.
  int64_t steps = 1;
};

/// Returns the file of an attempt.
std::filesystem::path EventFilePath(const EventFileSettings& settings);

class TrainingEvents final : public MetricObserver {
 public:
  explicit TrainingEvents(EventFileSettings settings);

  void AddValues(int64_t step, Values values) override;
  void AddHistogram(int64_t step, std::string_view name, std::span<const double> values) override;
  void ContinueAfter(int64_t step) override;

 private:
  /// Returns true if the series is far enough from its last point.
  bool IsDue(int64_t step, std::string_view series);
  void Write(int64_t step, const tensorboard::Summary& summary);
  absl::Status Append(tensorboard::Event event);
  absl::Status AppendStart();

  const EventFileSettings settings_;
  /// Least distance of two points of a series, in steps.
  const int64_t stride_;
  std::map<std::string, int64_t, std::less<>> last_steps_;
  /// Created with the first event.
  std::optional<EventFile> file_;
  /// The step at which training goes on, until that is written.
  std::optional<int64_t> start_ = 1;
  bool failed_ = false;
};

}  // namespace regroup
