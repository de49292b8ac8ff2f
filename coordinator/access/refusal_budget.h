// Decides which refused calls of a caller get a log line and an entry in the audit log: the first of them and then one
// each second, so that nobody can fill the logs, or wear out the disk, with calls that are refused. The others are
// counted.
//
// Thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

namespace regroup {

class RefusalBudget {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kAtOnce = 20;

  /// Returns, if the refusal gets an entry, the number of those before it that got none.
  std::optional<int64_t> Take(Clock::time_point now = Clock::now()) {
    const std::lock_guard lock(mutex_);
    Refill(now);
    if (entries_ < 1) {
      ++left_out_;
      return std::nullopt;
    }
    --entries_;
    return std::exchange(left_out_, 0);
  }

  /// Returns the number of refusals that got no entry, once an entry may tell it; none if there are none.
  std::optional<int64_t> TakeLeftOut(Clock::time_point now = Clock::now()) {
    const std::lock_guard lock(mutex_);
    Refill(now);
    if (left_out_ == 0 || entries_ < 1) return std::nullopt;
    --entries_;
    return std::exchange(left_out_, 0);
  }

 private:
  void Refill(Clock::time_point now) {
    entries_ = std::min<double>(kAtOnce, entries_ + std::chrono::duration<double>(now - last_).count());
    last_ = now;
  }

  std::mutex mutex_;
  double entries_ = kAtOnce;
  int64_t left_out_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace regroup
