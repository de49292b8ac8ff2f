// Checks this machine before its worker takes tasks: a trainer on every slot computes, and all of them communicate as
// the ranks of a gang do.
#pragma once

#include "absl/status/status.h"
#include "services/worker/attempt/supervised_attempt.h"

namespace regroup {

/// Runs the check to its end and logs what it found. UNAVAILABLE says what is wrong; DEADLINE_EXCEEDED after
/// options.check_patience; CANCELLED if a signal to stop came meanwhile. No process of the check is left.
absl::Status CheckMachine(const AttemptServices& services);

}  // namespace regroup
