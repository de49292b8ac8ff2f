// Answers PlanJob by running the trainer beside this program, on its own thread, one job at a time.
//
// Plan may be called from any thread.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/errands.h"
#include "regroup/v1/job_service.pb.h"

namespace regroup {

class JobPlanner {
 public:
  /// The trainer may read files of these folders; of all if there is none.
  explicit JobPlanner(std::vector<std::filesystem::path> data_roots) : data_roots_(std::move(data_roots)) {}

  using Done = std::function<void(const absl::StatusOr<v1::PlanJobResponse>& plan)>;

  /// Calls `done` on the planner's thread, or at once with RESOURCE_EXHAUSTED (LIMIT_REACHED) if too many plans wait.
  /// INVALID_ARGUMENT carries the trainer's reason; UNAVAILABLE means that there is no trainer.
  void Plan(const v1::JobSpec& resolved, Done done);

 private:
  const std::vector<std::filesystem::path> data_roots_;
  std::atomic<int> waiting_ = 0;
  Errands errands_;
};

}  // namespace regroup
