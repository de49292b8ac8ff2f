#include "coordinator/access/token_watch.h"

#include <utility>
#include <vector>

namespace regroup {

TokenWatch::TokenWatch(Check check, std::function<void()> tick, std::chrono::milliseconds interval)
    : check_(std::move(check)), tick_(std::move(tick)), interval_(interval), thread_(&TokenWatch::Run, this) {}

std::shared_ptr<void> TokenWatch::Watch(const Caller& caller, End end) {
  auto watched = std::make_shared<Watched>(Watched{caller, std::move(end)});
  const std::lock_guard lock(mutex_);
  watched_.push_back(watched);
  return watched;
}

void TokenWatch::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stops_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TokenWatch::Run() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (stops_.wait_for(lock, interval_, [this] { return stopping_; })) return;
    }
    tick_();
    CheckAll();
  }
}

void TokenWatch::CheckAll() {
  std::vector<std::shared_ptr<Watched>> all;
  {
    const std::lock_guard lock(mutex_);
    watched_.remove_if([](const std::weak_ptr<Watched>& held) { return held.expired(); });
    for (const std::weak_ptr<Watched>& held : watched_) {
      if (std::shared_ptr<Watched> watched = held.lock()) all.push_back(std::move(watched));
    }
  }
  // Without the lock: what ends may give its handle back.
  for (const std::shared_ptr<Watched>& watched : all) {
    if (!watched->end) continue;
    const absl::Status status = check_(watched->caller);
    if (!status.ok()) std::exchange(watched->end, nullptr)(status);
  }
}

}  // namespace regroup
