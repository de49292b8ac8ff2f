// Asks the coordinator for tasks while slots are free, and starts what it gets.
//
// Owned by the worker. A call offers the slots that are free when it is made and waits long, so when more come free
// meanwhile a second call is made, upon which the coordinator ends the first: two threads take turns.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "services/worker/attempt/attempt_table.h"
#include "services/worker/coordinator_link.h"
#include "services/worker/lease_keeper.h"

namespace regroup {

class TaskAcquirer {
 public:
  /// All outlive the acquirer. `wait` is the longest call.
  TaskAcquirer(CoordinatorLink* link, AttemptTable* table, LeaseKeeper* keeper, std::chrono::milliseconds wait);
  /// Ends the calls in progress.
  ~TaskAcquirer();

 private:
  void Run();
  /// Slots to offer and the number of the call; 0 slots when stopping.
  struct Offer {
    int slots = 0;
    int call = 0;
  };
  Offer WaitForOffer();
  bool ShouldAsk() const;
  void Ask(const Offer& offer);
  void EndCall(const Offer& offer, bool failed);

  CoordinatorLink* const link_;
  AttemptTable* const table_;
  LeaseKeeper* const keeper_;
  const std::chrono::milliseconds wait_;

  std::mutex mutex_;
  std::condition_variable changed_;
  int calls_ = 0;
  /// Of the latest call while it lasts, else 0.
  int offered_ = 0;
  SteadyTime not_before_{};
  bool stopping_ = false;

  std::array<std::thread, 2> threads_;
};

}  // namespace regroup
