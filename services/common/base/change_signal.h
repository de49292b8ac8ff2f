// Tells waiting threads that something they look at has changed, when it is kept in several places with a lock each.
//
// Thread-safe. Who waits takes the count, looks, and waits for a change after that count, so that none is missed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace regroup {

class ChangeSignal {
 public:
  /// The number of changes up to now.
  uint64_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }

  /// Wakes all who wait. Called after the change.
  void Announce() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }

  /// Waits for a change after the first `seen`.
  void Wait(uint64_t seen) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ != seen; });
  }

  /// The same, but not beyond `deadline`.
  void WaitUntil(uint64_t seen, std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return count_ != seen; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t count_ = 0;
};

}  // namespace regroup
