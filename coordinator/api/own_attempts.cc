#include "coordinator/api/own_attempts.h"

namespace regroup {
namespace {

/// A worker that comes back after a restart of the coordinator has last lines of a few ended jobs.
constexpr size_t kMostEndedJobs = 16;

}  // namespace

bool OwnAttempts::Has(const std::string& worker, const v1::AttemptId& attempt, const Turn& turn) {
  if (turn.cluster.HasRun(worker, attempt)) return true;
  const v1::Task* task = nullptr;
  if (const Job* const live = turn.cluster.jobs().Find(attempt.job())) {
    task = LastAttempt(attempt, live->proto().tasks());
  } else if (const std::vector<v1::Task>* const tasks = TasksOfEnded(attempt.job(), turn)) {
    task = LastAttempt(attempt, *tasks);
  }
  return task != nullptr && RunsOn(*task, worker);
}

const std::vector<v1::Task>* OwnAttempts::TasksOfEnded(const std::string& job, const Turn& turn) {
  if (turn.now != batch_) ended_.clear();
  batch_ = turn.now;
  const auto known = ended_.find(job);
  if (known != ended_.end()) return &known->second;
  if (ended_.size() >= kMostEndedJobs) return nullptr;
  absl::StatusOr<std::vector<v1::Task>> tasks = turn.store.GetTasks(job);
  if (!tasks.ok()) return nullptr;
  return &ended_.emplace(job, *std::move(tasks)).first->second;
}

}  // namespace regroup
