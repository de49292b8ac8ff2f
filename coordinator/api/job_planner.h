// Answers PlanJob by running the trainer beside this program, on its own thread, one job at a time.
//
// Plan and Stop may be called from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/errands.h"
#include "regroup/v1/job_service.pb.h"

namespace regroup {

struct PlanLimits {
  std::chrono::milliseconds time{60'000};
  /// Bytes.
  size_t memory = size_t{768} << 20;
  /// Plans that wait or run, of one caller; without tokens the callers cannot be told apart.
  int per_caller = 4;
};

class JobPlanner {
 public:
  using Done = std::function<void(const absl::StatusOr<v1::PlanJobResponse>& plan)>;

  /// The trainer may read files of `data_roots`; of all folders if there is none.
  JobPlanner(const PlanLimits& limits, std::vector<std::filesystem::path> data_roots)
      : limits_(limits), data_roots_(std::move(data_roots)) {}

  /// Calls `done` on the planner's thread, or at once with RESOURCE_EXHAUSTED (LIMIT_REACHED) if too many plans wait,
  /// of this caller or of all. INVALID_ARGUMENT carries the trainer's reason; UNAVAILABLE means that there is no
  /// trainer or that the coordinator stops, DEADLINE_EXCEEDED that the plan took too long. `is_wanted` is asked
  /// meanwhile, and a plan that nobody waits for is given up.
  void Plan(const v1::JobSpec& resolved, const std::string& caller, std::function<bool()> is_wanted, Done done);

  /// Ends the running plan and those that wait, now and later.
  void Stop() { is_stopping_ = true; }

 private:
  absl::Status Enter(const std::string& caller);
  void Leave(const std::string& caller);
  absl::StatusOr<v1::PlanJobResponse> Ask(const v1::JobSpec& resolved, const std::function<bool()>& is_wanted) const;

  const PlanLimits limits_;
  const std::vector<std::filesystem::path> data_roots_;
  std::atomic<bool> is_stopping_ = false;
  std::mutex mutex_;
  /// Plans that wait or run, by caller, and of all callers.
  std::map<std::string, int> waiting_of_;
  int waiting_ = 0;
  Errands errands_;
};

}  // namespace regroup
