#include "coordinator/access/token_watch.h"

#include <utility>
#include <vector>

namespace regroup {

TokenWatch::TokenWatch(Check check, std::function<void()> tick, std::chrono::milliseconds interval)
    : check_(std::move(check)), ticker_(interval, [this, tick = std::move(tick)] {
        tick();
        CheckAll();
      }) {}

std::shared_ptr<void> TokenWatch::Watch(const Caller& caller, End end) {
  auto watched = std::make_shared<Watched>(Watched{caller, std::move(end)});
  const std::lock_guard lock(mutex_);
  watched_.push_back(watched);
  return watched;
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
