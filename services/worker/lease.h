// Tracks how long a worker may go on without its coordinator.
//
// Only the keeper's thread uses a Lease, which is not thread-safe; LeaseEnd tells every other thread when it ends.
// Pure: callers pass the time.
#pragma once

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>

namespace regroup {

class Lease {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Milliseconds = std::chrono::milliseconds;

  /// Notes that the coordinator granted `length` in answer to a call sent at `sent`, the earliest time at which its own
  /// count can have started. A tenth of it, at most a second, is kept for killing the attempts.
  void Grant(Milliseconds length, Time sent) {
    usable_ = length - std::min(length / 10, Milliseconds(1'000));
    Renew(sent);
  }

  /// Notes that another call, sent at `sent`, was answered.
  void Renew(Time sent) { end_ = sent + usable_; }

  /// Gives up the lease: no attempt depends on it any more.
  void Drop() { end_.reset(); }

  const std::optional<Time>& end() const { return end_; }
  bool held() const { return end_.has_value(); }
  bool Expired(Time now) const { return end_ && now >= *end_; }

  /// Returns the time until it expires, at most `most`; `most` if none is held.
  Milliseconds Remaining(Time now, Milliseconds most) const {
    if (!end_) return most;
    return std::clamp(std::chrono::ceil<Milliseconds>(*end_ - now), Milliseconds(1), most);
  }

 private:
  Milliseconds usable_{0};
  std::optional<Time> end_;
};

/// Holds the end of the worker's lease for those who do not renew it. Thread-safe.
class LeaseEnd {
 public:
  /// No value means that none is held.
  void Set(std::optional<Lease::Time> end) {
    const std::lock_guard lock(mutex_);
    end_ = end;
  }

  /// Returns the time until the end, not below zero; no value if none is held.
  std::optional<Lease::Milliseconds> Remaining(Lease::Time now) const {
    const std::lock_guard lock(mutex_);
    if (!end_) return std::nullopt;
    return std::max(Lease::Milliseconds(0), std::chrono::floor<Lease::Milliseconds>(*end_ - now));
  }

 private:
  mutable std::mutex mutex_;
  std::optional<Lease::Time> end_;
};

}  // namespace regroup
