// Bounds how many metric points each job may store, as LogBudget bounds its log. Used by the core thread alone.
//
// Points beyond the bound still set the gauges of the coordinator's metrics, so that training is seen to go on.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "coordinator/core/core.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

class PointBudget {
 public:
  /// `points` may be stored of each job.
  explicit PointBudget(int64_t points) : points_(points) {}

  /// Adds the point, complete with task and epoch, to the changes of the turn. Returns false if it is not stored,
  /// because the job has no room or the store cannot tell. A line of the job's log says so once.
  bool Add(const v1::AttemptId& attempt, v1::MetricPoint point, Turn& turn);

 private:
  struct Account {
    int64_t stored = 0;
    bool is_announced = false;
  };

  /// Returns null if the store cannot tell how much is stored.
  Account* Find(const std::string& job, Turn& turn);
  void Announce(const v1::AttemptId& attempt, Turn& turn) const;

  const int64_t points_;
  std::map<std::string, Account> accounts_;
};

}  // namespace regroup
