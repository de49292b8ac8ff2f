// Runs collectives that overlap computation: launched calls run in order while the thread that launched them continues.
//
// On the CPU a lane is a thread of its own, on a GPU a stream. From the first Launch to the end of Finish the
// communicator belongs to the lane. One thread at a time may call it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"

namespace regroup {

class SideLane {
 public:
  /// Waits for the launched calls.
  virtual ~SideLane() = default;

  /// Runs `call` after earlier calls and after everything that the caller has computed so far. After a failure no
  /// further call runs.
  virtual void Launch(std::function<absl::Status()> call) = 0;

  /// Returns a mark behind the calls launched so far, for WaitFor.
  virtual int64_t Mark() = 0;

  /// Makes later computation of the caller see the results of the calls before the mark. A failure of one of them is
  /// returned by Finish only. Waiting for a mark waits for the earlier ones too.
  virtual void WaitFor(int64_t mark) = 0;

  /// Makes later computation of the caller see the results of all calls. Returns the first failure.
  virtual absl::Status Finish() = 0;
};

/// Returns a lane that runs each call at once, in the thread that launches it.
std::unique_ptr<SideLane> MakeInlineLane();

/// Returns a thread that computes on one core, so that it takes little time from the training threads.
std::unique_ptr<SideLane> MakeThreadLane();

}  // namespace regroup
