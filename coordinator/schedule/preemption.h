// Decides which training gives way to a waiting task of higher priority. Pure.
//
// Only jobs of the same owner give way, because priority has no effect between owners. Nothing gives way in vain:
// either the waiting task can start when those jobs have stopped, or all go on.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/job/time.h"
#include "coordinator/schedule/placement.h"

namespace regroup {

/// A job whose training runs and may be interrupted.
struct Interruptible {
  std::string job;
  std::string owner;
  int priority = 0;
  /// Start of the training's attempt.
  Time started{};
  /// The slots of all tasks of the job that run.
  std::vector<Share> shares;
};

/// Takes the slots of a task from the workers and budgets. Returns false, and takes none, if it cannot start now.
bool TakeSlots(const Demand& demand, std::vector<Capacity>* workers, std::vector<Budget>* budgets);

/// Returns positions in `running` of the jobs that should give way to a task of `owner` with this priority, the last of
/// `demands`: those of the lowest priority, of equal ones those that started last, and no more than needed. None if the
/// task can start without, or cannot start even so, because the demands before it take what comes free. `workers` shows
/// the slots that are free, or will be when jobs that already pause have stopped. `Demand::budget` is a position in
/// `budgets`.
std::vector<size_t> WhoGivesWay(const std::string& owner, int priority, const std::vector<Demand>& demands,
                                const std::vector<Interruptible>& running, const std::vector<Capacity>& workers,
                                const std::vector<Budget>& budgets);

}  // namespace regroup
