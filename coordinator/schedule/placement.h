// Decides which task goes to which worker, and why a task goes to none. Pure functions of the waiting tasks and the
// free slots.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace regroup {

/// A task that may start. Its ranks run together or not at all.
struct Demand {
  int ranks = 1;
  /// Numbers of ranks with which it starts if no workers could ever hold all of `ranks`, the largest first.
  std::vector<int> smaller;
  bool needs_cuda = false;
  /// Position of a worker that gets the task only if no other could ever hold it.
  std::optional<size_t> avoided;
  /// Position of a worker that gets the task only if no other can start it now.
  std::optional<size_t> disliked;
  /// Position of the budget that its ranks count against, if its owner has one.
  std::optional<size_t> budget;
};

/// The slots that an owner may use at once, and those that it uses.
struct Budget {
  int slots = 0;
  int busy = 0;
};

/// A live worker.
struct Capacity {
  int slots = 0;
  int free_slots = 0;
  bool has_cuda = false;
  bool is_draining = false;
  /// True if it asks for a task now; only then can it be given one.
  bool is_asking = false;
  /// True if other workers can reach it, so that it can run a part of a gang.
  bool can_share = false;
};

/// The ranks of a task that one worker runs; the worker is a position in the list given to Place.
struct Share {
  size_t worker = 0;
  int ranks = 0;

  bool operator==(const Share&) const = default;
};

/// A task and the workers on which it starts.
struct Placement {
  /// Position in the list given to Place.
  size_t demand = 0;
  /// More than one for a gang on several workers; the first leads.
  std::vector<Share> shares;

  bool operator==(const Placement&) const = default;
};

/// Returns at most one task for each asking worker. `demands` is in the order of precedence.
///
/// A task takes the fullest worker that holds it, which keeps larger gaps for gangs. A gang for which no single worker
/// is large enough is spread over as few as possible. A gang that fits nowhere yet reserves the emptiest worker, or
/// workers, that could hold it: nothing of lower precedence starts there, so its slots come free one after the other
/// and small tasks cannot starve it. In the same way it reserves what is left of its owner's budget.
std::vector<Placement> Place(const std::vector<Demand>& demands, std::vector<Capacity> workers,
                             std::vector<Budget> budgets = {});

/// Returns true if the workers could run all ranks of the task if they were idle.
bool CouldHold(const std::vector<Capacity>& workers, const Demand& demand);

/// Returns true if the worker can start the task now.
bool CanStart(const Capacity& worker, const Demand& demand);

/// Returns what the task waits for, as a word for metrics: no_worker | no_cuda | draining | too_large | slots | turn.
std::string_view WaitingKind(const Demand& demand, const std::vector<Capacity>& workers);

/// Returns "task needs 1 slot" or "gang needs 4 slots".
std::string NeedsSlots(const Demand& demand);

/// Returns why the task does not run, as a message: "gang needs 4 slots; 2 are free".
std::string WaitingReason(const Demand& demand, const std::vector<Capacity>& workers);

}  // namespace regroup
