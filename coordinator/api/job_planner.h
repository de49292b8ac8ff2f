// Answers PlanJob by running the trainer beside this program, on its own thread, one job at a time.
//
// Plan may be called from any thread.
#pragma once

#include <atomic>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/errands.h"
#include "regroup/v1/job_service.pb.h"

namespace regroup {

class JobPlanner {
 public:
  using Done = std::function<void(const absl::StatusOr<v1::PlanJobResponse>& plan)>;

  /// Calls `done` on the planner's thread, or at once with RESOURCE_EXHAUSTED (LIMIT_REACHED) if too many plans wait.
  /// INVALID_ARGUMENT carries the trainer's reason; UNAVAILABLE means that there is no trainer.
  void Plan(const v1::JobSpec& resolved, Done done);

 private:
  std::atomic<int> waiting_ = 0;
  Errands errands_;
};

}  // namespace regroup
