#include "coordinator/api/log_budget.h"

#include <fmt/format.h>

#include <utility>

#include "coordinator/job/time.h"

namespace regroup {
namespace {

/// Jobs that are counted in memory. One that is forgotten is counted by the store again.
constexpr size_t kMostAccounts = 10'000;
constexpr int64_t kShareForErrors = 16;

v1::LogEntry Complete(v1::LogEntry entry, const v1::AttemptId& attempt, const std::string& worker) {
  entry.set_task(attempt.task());
  entry.set_epoch(attempt.epoch());
  entry.set_worker(worker);
  return entry;
}

}  // namespace

LogBudget::Account* LogBudget::Find(const std::string& job, Turn& turn) {
  const auto found = accounts_.find(job);
  if (found != accounts_.end()) return &found->second;
  const absl::StatusOr<int64_t> stored = turn.store.LogBytes(job);
  if (!stored.ok()) return nullptr;
  if (accounts_.size() >= kMostAccounts) accounts_.erase(accounts_.begin());
  return &accounts_.emplace(job, Account{.stored_bytes = *stored, .is_announced = *stored >= bytes_}).first->second;
}

bool LogBudget::HasRoom(const Account& account, v1::LogSeverity severity, int64_t bytes) const {
  const int64_t most = severity >= v1::LOG_SEVERITY_ERROR ? bytes_ + bytes_ / kShareForErrors : bytes_;
  return account.stored_bytes + bytes <= most;
}

void LogBudget::Say(const std::string& message, const v1::AttemptId& attempt, const std::string& worker,
                    Turn& turn) const {
  v1::LogEntry entry;
  *entry.mutable_time() = ToProto(turn.now);
  entry.set_severity(v1::LOG_SEVERITY_WARNING);
  entry.set_message(message);
  turn.changes.logs.push_back({attempt.job(), Complete(std::move(entry), attempt, worker)});
}

size_t LogBudget::Add(const v1::AttemptReport& report, const std::string& worker, Turn& turn) {
  const v1::AttemptId& attempt = report.attempt();
  Account* const account = report.logs().empty() ? nullptr : Find(attempt.job(), turn);
  if (account == nullptr) return static_cast<size_t>(report.logs_size());
  size_t left_out = 0;
  for (const v1::LogEntry& line : report.logs()) {
    v1::LogEntry entry = Complete(line, attempt, worker);
    const auto bytes = static_cast<int64_t>(entry.ByteSizeLong());
    if (HasRoom(*account, entry.severity(), bytes)) {
      account->stored_bytes += bytes;
      turn.changes.logs.push_back({attempt.job(), std::move(entry)});
      continue;
    }
    ++left_out;
    if (std::exchange(account->is_announced, true)) continue;
    Say(fmt::format("the log of this job has reached {} MiB (--max-log-mib-per-job): of what follows only errors are "
                    "stored",
                    bytes_ >> 20),
        attempt, worker, turn);
  }
  account->left_out += static_cast<int64_t>(left_out);
  return left_out;
}

void LogBudget::Conclude(const v1::AttemptId& attempt, const std::string& worker, Turn& turn) {
  const auto found = accounts_.find(attempt.job());
  if (found == accounts_.end() || found->second.left_out == 0) return;
  Say(fmt::format("{} lines of this job's log were left out", std::exchange(found->second.left_out, 0)), attempt,
      worker, turn);
}

}  // namespace regroup
