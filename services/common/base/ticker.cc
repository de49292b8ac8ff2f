#include "services/common/base/ticker.h"

#include <utility>

namespace regroup {

Ticker::Ticker(std::chrono::milliseconds pause, std::function<void()> tick)
    : pause_(pause), tick_(std::move(tick)), thread_(&Ticker::Run, this) {}

void Ticker::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Ticker::Run() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (stopped_.wait_for(lock, pause_, [this] { return stopping_; })) return;
    }
    tick_();
  }
}

}  // namespace regroup
