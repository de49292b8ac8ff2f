// Tells waiting threads that state which is kept in several places, each with its own lock, has changed.
//
// Thread-safe. A waiting thread reads the count, checks the state, and waits for a change after that count, so that it
// misses none.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace regroup {

class ChangeSignal {
 public:
  /// Returns the number of changes so far.
  uint64_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }

  /// Wakes all waiting threads. Call after the change.
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

  /// Waits for a change after the first `seen`, until `deadline` at most.
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
