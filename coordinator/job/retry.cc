#include "coordinator/job/retry.h"

namespace regroup {
namespace {

std::optional<Duration> PauseAfterLoss(int64_t checkpoint, RetryState* state) {
  if (checkpoint > state->best_checkpoint) {
    state->best_checkpoint = checkpoint;
    state->restarts_without_progress = 0;
  }
  if (state->restarts_without_progress >= kRestartsWithoutProgress) return std::nullopt;
  ++state->restarts_without_progress;
  return kShortestPause * (1 << (state->restarts_without_progress - 1));
}

}  // namespace

std::optional<Duration> PauseBeforeRetry(v1::FailureClass failure_class, int64_t checkpoint, RetryState* state) {
  switch (failure_class) {
    case v1::FAILURE_CLASS_USER:
    case v1::FAILURE_CLASS_DATA:
    case v1::FAILURE_CLASS_QUALITY_GATE:
      return std::nullopt;
    case v1::FAILURE_CLASS_INFRA:
    case v1::FAILURE_CLASS_HANG:
      return PauseAfterLoss(checkpoint, state);
    default:
      if (++state->internal_failures > 1) return std::nullopt;
      return kShortestPause;
  }
}

}  // namespace regroup
