// The attempts that a worker holds: those that run, and those whose end has not been acknowledged yet.
//
// Owned by the worker; thread-safe. An attempt keeps its slots and stays in the list until Remove: the coordinator
// would take one that is not listed for lost.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "services/worker/attempt/attempt.h"
#include "services/worker/attempt/slot_pool.h"

namespace regroup {

class AttemptTable {
 public:
  /// `services` outlives the table. `on_end` is called from the attempts' threads.
  AttemptTable(const AttemptServices* services, std::vector<std::string> gpus, Attempt::EndCallback on_end);
  /// Kills whatever runs.
  ~AttemptTable();

  /// Starts an attempt, after the end of any older attempt of the same task, for which it waits. An attempt that is
  /// here already, or is older than one that is here, is left alone.
  void Start(const v1::TaskAssignment& assignment);

  /// Stops those of `keys` that are here.
  void Stop(const std::vector<AttemptKey>& keys, const StopRequest& request);
  void StopAll(const StopRequest& request);

  /// Forgets an attempt that has ended, and frees its slots.
  void Remove(const AttemptKey& key);

  std::vector<AttemptKey> Keys() const;
  std::vector<std::shared_ptr<LogCollector>> Collectors() const;
  /// Null if it is not here.
  std::shared_ptr<LogCollector> CollectorOf(const AttemptKey& key) const;

  /// Null if it is not here.
  std::shared_ptr<Attempt> Find(const AttemptKey& key) const;
  bool HoldsOtherEpochOf(const AttemptKey& key) const;

  int free_slots() const;

  /// Waits until no process of any attempt is left.
  void WaitForEnds() const;

  /// Waits until no attempt is left; false if `deadline` comes first.
  bool WaitUntilEmpty(SteadyTime deadline);

 private:
  struct Entry {
    std::shared_ptr<Attempt> attempt;
    std::vector<int> slots;
  };

  std::vector<std::shared_ptr<Attempt>> AttemptsOfSameTask(const AttemptKey& key) const;
  bool StopOlder(const AttemptKey& key);

  const AttemptServices* const services_;
  const Attempt::EndCallback on_end_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  SlotPool slots_;
  std::map<AttemptKey, Entry> entries_;
};

}  // namespace regroup
