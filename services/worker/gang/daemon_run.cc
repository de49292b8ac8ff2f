#include "services/worker/gang/daemon_run.h"

namespace regroup {
namespace {

/// More waiting lines than this are dropped: the daemon writes faster than the caller reads.
constexpr size_t kMostEvents = 1000;

}  // namespace

void DaemonRun::AddLine(std::string line) {
  const std::lock_guard lock(mutex_);
  if (events_.size() >= kMostEvents) return;
  events_.emplace_back().set_line(std::move(line));
  changed_.notify_all();
}

void DaemonRun::End(const v1::DaemonExit& exit) {
  const std::lock_guard lock(mutex_);
  *events_.emplace_back().mutable_exit() = exit;
  changed_.notify_all();
}

bool DaemonRun::is_abandoned() const {
  const std::lock_guard lock(mutex_);
  return is_abandoned_;
}

void DaemonRun::Abandon() {
  const std::lock_guard lock(mutex_);
  is_abandoned_ = true;
}

std::optional<v1::RunDaemonResponse> DaemonRun::Next(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, patience, [this] { return !events_.empty(); })) return std::nullopt;
  v1::RunDaemonResponse event = std::move(events_.front());
  events_.pop_front();
  return event;
}

}  // namespace regroup
