// Collectives beside the computation: what is launched runs in order while the thread that launched it goes on.
//
// On the CPU a lane is a thread of its own, on a GPU a stream. From the first Launch to the end of Finish the
// communicator belongs to the lane. One thread at a time may call it.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"

namespace regroup {

class SideLane {
 public:
  /// Waits for what was launched.
  virtual ~SideLane() = default;

  /// Runs `call` behind those before it and behind what the caller has computed so far. After a failure nothing runs.
  virtual void Launch(std::function<absl::Status()> call) = 0;

  /// What the caller computes from here on sees the results of all calls. The first failure.
  virtual absl::Status Finish() = 0;
};

/// A thread that computes on one core, so that it takes little from those that train.
std::unique_ptr<SideLane> MakeThreadLane();

}  // namespace regroup
