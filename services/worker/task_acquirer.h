// Asks the coordinator for tasks while slots are free, and starts those it receives.
//
// Owned by the worker. A call offers the slots that are free when it is made, and waits long. When more become free
// meanwhile, a second call is made and the coordinator ends the first: two threads take turns.
#pragma once

#include <array>
#include <mutex>
#include <optional>
#include <thread>

#include "services/common/base/change_signal.h"
#include "services/worker/attempt/attempt_table.h"
#include "services/worker/coordinator_link.h"
#include "services/worker/lease_keeper.h"

namespace regroup {

class TaskAcquirer {
 public:
  /// All outlive the acquirer. `signal` is notified when slots become free and when the keeper's permission changes;
  /// `wait` is the longest duration of a call.
  TaskAcquirer(CoordinatorLink* link, AttemptTable* table, LeaseKeeper* keeper, ChangeSignal* signal,
               std::chrono::milliseconds wait);
  /// Ends the calls in progress.
  ~TaskAcquirer();

 private:
  /// The slots to offer, and the call's number.
  struct Offer {
    int slots = 0;
    int call = 0;
  };

  void Run();
  bool IsStopping() const;
  /// Returns nothing while there is no reason to ask.
  std::optional<Offer> TakeOffer(SteadyTime now);
  /// Waits until something has changed since `seen`, or a pause that lasted at `now` is over.
  void WaitForChange(uint64_t seen, SteadyTime now);
  void Ask(const Offer& offer);
  void EndCall(const Offer& offer, bool failed);

  CoordinatorLink* const link_;
  AttemptTable* const table_;
  LeaseKeeper* const keeper_;
  ChangeSignal* const signal_;
  const std::chrono::milliseconds wait_;

  mutable std::mutex mutex_;
  int calls_ = 0;
  /// The slots that the latest call offers while it is in progress, else 0.
  int offered_ = 0;
  SteadyTime not_before_{};
  bool stopping_ = false;

  std::array<std::thread, 2> threads_;
};

}  // namespace regroup
