#include "coordinator/api/point_budget.h"

#include <fmt/format.h>

#include <utility>

#include "coordinator/job/time.h"

namespace regroup {
namespace {

/// Jobs that are counted in memory. One that is forgotten is counted by the store again.
constexpr size_t kMostAccounts = 10'000;

}  // namespace

bool PointBudget::Add(const v1::AttemptId& attempt, v1::MetricPoint point, Turn& turn) {
  Account* const account = Find(attempt.job(), turn);
  const bool is_stored = account != nullptr && account->stored < points_;
  turn.changes.metrics.push_back({attempt.job(), std::move(point), is_stored});
  if (is_stored) {
    ++account->stored;
  } else if (account != nullptr && !std::exchange(account->is_announced, true)) {
    Announce(attempt, turn);
  }
  return is_stored;
}

PointBudget::Account* PointBudget::Find(const std::string& job, Turn& turn) {
  const auto found = accounts_.find(job);
  if (found != accounts_.end()) return &found->second;
  const absl::StatusOr<int64_t> stored = turn.store.CountMetrics(job, points_);
  if (!stored.ok()) return nullptr;
  if (accounts_.size() >= kMostAccounts) accounts_.erase(accounts_.begin());
  return &accounts_.emplace(job, Account{.stored = *stored, .is_announced = *stored >= points_}).first->second;
}

void PointBudget::Announce(const v1::AttemptId& attempt, Turn& turn) const {
  JobLog line{.job = attempt.job(), .entry = {}};
  *line.entry.mutable_time() = ToProto(turn.now);
  line.entry.set_severity(v1::LOG_SEVERITY_WARNING);
  line.entry.set_task(attempt.task());
  line.entry.set_epoch(attempt.epoch());
  line.entry.set_message(
      fmt::format("this job has {} metric points (--max-points-per-job): none that follow are stored", points_));
  turn.changes.logs.push_back(std::move(line));
}

}  // namespace regroup
