// The attempts that a worker holds: those that run, and those whose end has not been acknowledged yet.
//
// Owned by the worker; thread-safe. An attempt keeps its slots and stays in the list until it is
// forgotten: the coordinator would take one that is not listed for lost.
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

/// An attempt of which no process is left, for whoever tells the coordinator.
struct EndedAttempt {
  AttemptKey key;
  v1::TaskOutcome outcome;
  /// Takes the attempt out of the table and frees its slots. To be called once the coordinator knows of the end, and
  /// before the table is destroyed.
  std::function<void()> forget;
};

class AttemptTable {
 public:
  /// `services` outlives the table. `on_end` is called from the attempts' threads, `on_free` whenever slots come free.
  AttemptTable(const AttemptServices* services, std::vector<std::string> gpus, std::function<void(EndedAttempt)> on_end,
               std::function<void()> on_free);
  /// Kills whatever runs.
  ~AttemptTable();

  /// Starts an attempt, after the end of any older attempt of the same task, for which it waits. An attempt that is
  /// here already, or is older than one that is here, is left alone.
  void Start(const v1::TaskAssignment& assignment);

  /// Stops those of `keys` that are here.
  void Stop(const std::vector<AttemptKey>& keys, const StopRequest& request);
  void StopAll(const StopRequest& request);

  std::vector<AttemptKey> Keys() const;

  /// Null if it is not here.
  std::shared_ptr<SupervisedAttempt> Find(const AttemptKey& key) const;
  bool HoldsOtherEpochOf(const AttemptKey& key) const;

  int free_slots() const;

  /// Waits until no process of any attempt is left.
  void WaitForEnds() const;

  /// Waits until no attempt is left; false if `deadline` comes first.
  bool WaitUntilEmpty(SteadyTime deadline);

 private:
  struct Entry {
    std::shared_ptr<SupervisedAttempt> attempt;
    std::vector<int> slots;
  };

  std::vector<std::shared_ptr<SupervisedAttempt>> AttemptsOfSameTask(const AttemptKey& key) const;
  bool StopOlder(const AttemptKey& key);
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
