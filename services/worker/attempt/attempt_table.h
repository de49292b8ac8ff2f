// The attempts that a worker holds: those that run, and those whose outcome has not been acknowledged yet.
//
// Owned by the worker; thread-safe. An attempt stays in the list until it is forgotten: the coordinator treats an
// attempt that is not listed as lost. It has slots, and with them GPUs, only while it has processes: the coordinator
// may assign them to the next attempt before its answer to the outcome has arrived here.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "services/worker/attempt/slot_pool.h"
#include "services/worker/attempt/supervised_attempt.h"

namespace regroup {

/// An attempt that has no process left, on its way to the outcome reporter.
struct EndedAttempt {
  AttemptKey key;
  v1::TaskOutcome outcome;
  /// False on a worker that helps a gang: its part may end without a failure although the task fails.
  bool leads = true;
  /// The W3C trace context of the job's submission; empty if it had none.
  std::string traceparent = {};
  /// Takes the attempt out of the table. Call it once the coordinator knows the outcome, and before
  /// the table is destroyed.
  std::function<void()> forget;
};

class AttemptTable {
 public:
  /// `services` outlives the table. `on_end` is called from the attempts' threads, `on_free` whenever slots become
  /// free.
  AttemptTable(const AttemptServices* services, std::vector<std::string> gpus, std::function<void(EndedAttempt)> on_end,
               std::function<void()> on_free);
  /// Kills the attempts that still run.
  ~AttemptTable();

  /// Waits for the end of any older attempt of the same task, then starts the attempt. Does nothing if this worker
  /// already holds the attempt or a newer one.
  void Start(const v1::TaskAssignment& assignment);

  /// Stops those attempts of `keys` that this worker holds.
  void Stop(const std::vector<AttemptKey>& keys, const StopRequest& request);
  void StopAll(const StopRequest& request);

  /// Asks those attempts of `keys` that this worker holds to end for a pause of their job.
  void Pause(const std::vector<AttemptKey>& keys);

  std::vector<AttemptKey> Keys() const;

  /// Returns null if this worker does not hold the attempt.
  std::shared_ptr<SupervisedAttempt> Find(const AttemptKey& key) const;
  bool HoldsOtherEpochOf(const AttemptKey& key) const;

  int free_slots() const;

  /// Waits until no process of any attempt is left.
  void WaitForEnds() const;

  /// Waits until no attempt is left; returns false if `deadline` comes first.
  bool WaitUntilEmpty(SteadyTime deadline);

 private:
  struct Entry {
    std::shared_ptr<SupervisedAttempt> attempt;
    std::vector<int> slots;
  };

  std::vector<std::shared_ptr<SupervisedAttempt>> AttemptsOfSameTask(const AttemptKey& key) const;
  bool StopOlder(const AttemptKey& key);
  void FreeSlots(const AttemptKey& key);
  void Remove(const AttemptKey& key);

  const AttemptServices* const services_;
  const std::function<void(EndedAttempt)> on_end_;
  const std::function<void()> on_free_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  SlotPool slots_;
  std::map<AttemptKey, Entry> entries_;
};

}  // namespace regroup
