// Decides if and when a failed attempt is retried. Pure functions.
//
//   USER, DATA, QUALITY_GATE   never: the same input gives the same answer
//   INFRA, HANG                again after a pause of 1, 2, then 4 s, until three restarts in a row brought no progress
//   INTERNAL                   once: a defect that depends on timing may pass, any other will not
#pragma once

#include <cstdint>
#include <optional>

#include "coordinator/job/time.h"
#include "regroup/v1/job.pb.h"

namespace regroup {

inline constexpr int kRestartsWithoutProgress = 3;
/// Shortest time between two attempts of a task.
inline constexpr Duration kShortestPause = std::chrono::seconds(1);

/// The coordinator's internal record of a task's attempts. Its times are on the core's clock, which no change of the
/// wall clock moves; those in the task's message are for people.
struct RetryState {
  /// Restarts after INFRA or HANG since the task last made progress.
  int restarts_without_progress = 0;
  /// Checkpoints written by the attempt that got furthest.
  int64_t best_checkpoint = 0;
  int internal_failures = 0;
  /// The next attempt does not start before this time.
  Time not_before{};
  /// Start of the last attempt, and for how long the successful one ran.
  Time started{};
  Duration took{0};

  bool operator==(const RetryState&) const = default;
};

/// Records a failed attempt that had reached `checkpoint`, and returns the pause before the next attempt; no value if
/// the task must not be retried.
std::optional<Duration> PauseBeforeRetry(v1::FailureClass failure_class, int64_t checkpoint, RetryState* state);

}  // namespace regroup
