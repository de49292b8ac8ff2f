// The clocks of the core. Functions may be called from any thread.
#pragma once

#include <functional>

#include "coordinator/job/count_clock.h"

namespace regroup {

struct Clocks {
  /// Must never go backwards.
  std::function<Time()> now;
  std::function<BootTime()> boot;
};

/// Returns a clock that starts at the current wall-clock time and advances by the steady clock: jumps of the wall clock
/// cannot end leases.
std::function<Time()> SteadyWallClock();

/// Reads CLOCK_BOOTTIME and the id of this start of the machine.
BootTime ReadBootClock();

/// Returns SteadyWallClock and ReadBootClock.
Clocks SystemClocks();

}  // namespace regroup
