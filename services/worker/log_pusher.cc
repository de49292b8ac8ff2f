#include "services/worker/log_pusher.h"

#include <optional>
#include <utility>

#include "services/common/base/error.h"
#include "services/common/base/logging.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kVisitInterval{100};
constexpr std::chrono::milliseconds kPushInterval{1'000};
constexpr size_t kEarlyLines = 200;

/// Returns true if a retry may help; any other error would repeat itself.
bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) ||
         absl::IsUnauthenticated(status) || ReasonOf(status) == v1::WORKER_NOT_REGISTERED;
}

}  // namespace

LogPusher::LogPusher(CoordinatorLink* link, const LogCollectors* collectors)
    : link_(link), collectors_(collectors), thread_([this] { Run(); }) {}

LogPusher::~LogPusher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    stopping_condition_.notify_all();
  }
  thread_.join();
}

void LogPusher::Run() {
  while (WaitForWork()) {
    const std::lock_guard lock(sending_);
    if (SendPending()) Collect();
    SendPending();
  }
}

/// Returns false when the worker stops.
bool LogPusher::WaitForWork() {
  const auto due = std::chrono::steady_clock::now() + kPushInterval;
  std::unique_lock lock(mutex_);
  while (!stopping_ && std::chrono::steady_clock::now() < due) {
    stopping_condition_.wait_for(lock, kVisitInterval);
    lock.unlock();
    const bool early = WaitingLines() >= kEarlyLines;
    lock.lock();
    if (early) break;
  }
  return !stopping_;
}

size_t LogPusher::WaitingLines() const {
  size_t lines = 0;
  for (const std::shared_ptr<LogCollector>& collector : collectors_->All()) lines += collector->waiting_lines();
  return lines;
}

void LogPusher::Collect() {
  for (const std::shared_ptr<LogCollector>& collector : collectors_->All()) {
    if (std::optional<v1::AttemptReport> report = collector->Take()) {
      pending_.push_back(std::move(*report));
    }
  }
}

/// Returns false if the coordinator cannot be reached; the pending reports are kept.
bool LogPusher::SendPending() {
  while (!pending_.empty()) {
    const absl::Status status = link_->PushLogs(pending_.front());
    if (!status.ok() && IsTransient(status)) return false;
    if (!status.ok())
      LogWarning("the coordinator rejected log lines; discarding them", {{"reason", std::string(status.message())}});
    pending_.pop_front();
  }
  return true;
}

void LogPusher::Flush(const AttemptKey& key) {
  const std::shared_ptr<LogCollector> collector = collectors_->Find(key);
  if (collector == nullptr) return;
  const std::lock_guard lock(sending_);
  while (SendPending()) {
    std::optional<v1::AttemptReport> report = collector->Take();
    if (!report) return;
    pending_.push_back(std::move(*report));
  }
}

}  // namespace regroup
