// PlanJob: asks the trainer beside this program, on a thread of its own, one job after the other.
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

  /// Calls `done` on the planner's thread. RESOURCE_EXHAUSTED (LIMIT_REACHED) at once where too many wait;
  /// INVALID_ARGUMENT with the trainer's reason; UNAVAILABLE where there is no trainer.
  void Plan(const v1::JobSpec& resolved, Done done);

 private:
  std::atomic<int> waiting_ = 0;
  Errands errands_;
};

}  // namespace regroup
