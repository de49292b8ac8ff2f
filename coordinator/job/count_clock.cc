#include "coordinator/job/count_clock.h"

#include <algorithm>

namespace regroup {

Time ContinueCount(const std::optional<ClockReading>& last, const BootTime& now, Time start) {
  if (!last) return start;
  const bool goes_on = !now.boot.empty() && last->boot.boot == now.boot;
  return last->count + (goes_on ? std::max(Duration(0), now.since - last->boot.since) : Duration(0));
}

}  // namespace regroup
