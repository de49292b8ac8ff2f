#include "coordinator/core/errands.h"

#include <utility>

namespace regroup {

void Errands::Run(std::function<void()> errand) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(errand));
  }
  has_work_.notify_one();
}

void Errands::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  has_work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Errands::Work() {
  while (true) {
    std::function<void()> errand;
    {
      std::unique_lock lock(mutex_);
      has_work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      errand = std::move(queue_.front());
      queue_.pop_front();
    }
    errand();
  }
}

}  // namespace regroup
