// When the worker's lease ends, for everybody but the keeper who knows it first. Thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>

#include "services/worker/lease.h"

namespace regroup {

class LeaseEnd {
 public:
  /// No value: none is held.
  void Set(std::optional<Lease::Time> end) {
    const std::lock_guard lock(mutex_);
    end_ = end;
  }

  /// Not below zero; no value where none is held.
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
