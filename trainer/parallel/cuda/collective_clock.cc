#include "trainer/parallel/cuda/collective_clock.h"

namespace regroup {

std::string CollectiveClock::Collect() {
  const std::lock_guard lock(mutex_);
  // Streams run in order, so that none is done before an earlier one.
  while (!spans_.empty() && spans_.front().end.query()) {
    seconds_ += spans_.front().begin.elapsedTime(spans_.front().end) * 1e-3;
    spans_.pop_front();
  }
  return spans_.empty() || !spans_.front().begin.query() ? "" : spans_.front().name;
}

}  // namespace regroup
