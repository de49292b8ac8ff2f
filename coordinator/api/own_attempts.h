// Decides which attempts a worker may write logs and metrics of: those that it runs or has run.
//
// Reports of ended jobs need the store, which is asked for a few of them in each batch of the core thread, and once for
// each: a push of a thousand reports must not keep the thread from everything else. Used by the core thread alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "coordinator/core/core.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/common/base/resource_names.h"

namespace regroup {

/// Returns the task if the attempt is its current or last one; null otherwise.
template <typename Tasks>
const v1::Task* LastAttempt(const v1::AttemptId& attempt, const Tasks& tasks) {
  for (const v1::Task& task : tasks) {
    if (task.epoch() == attempt.epoch() && LastSegment(task.name()) == attempt.task()) return &task;
  }
  return nullptr;
}

class OwnAttempts {
 public:
  /// Returns true if the attempt is or was the worker's; false also for an ended job's if too many were asked about.
  bool Has(const std::string& worker, const v1::AttemptId& attempt, const Turn& turn);

 private:
  /// Returns the tasks of a job that is only in the store; null if they are not known in this batch.
  const std::vector<v1::Task>* TasksOfEnded(const std::string& job, const Turn& turn);

  /// Time of the batch in which the store was asked, and its answers.
  Time batch_{};
  std::map<std::string, std::vector<v1::Task>> ended_;
};

}  // namespace regroup
