// The clock by which pauses and limits are counted across restarts of the coordinator: it follows the kernel's clock
// since the machine was started, which nobody can set, and never the wall clock. Values and pure functions.
#pragma once

#include <optional>
#include <string>

#include "coordinator/job/time.h"

namespace regroup {

/// The kernel's time since this machine was started.
struct BootTime {
  /// Random id of that start; another one after each. Empty if it is unknown.
  std::string boot;
  Duration since{0};
};

/// A reading, which the store keeps with every commit: the time on the clock at that moment.
struct ClockReading {
  BootTime boot;
  Time count{};
};

/// Returns the time on the clock now, given its last reading. It goes on for as long as the machine runs; the time in
/// which the machine was off, or after which another machine goes on, does not count, because nothing measures it
/// reliably. Without a reading the clock starts at `start`.
Time ContinueCount(const std::optional<ClockReading>& last, const BootTime& now, Time start);

}  // namespace regroup
