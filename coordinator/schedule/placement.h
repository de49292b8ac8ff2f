// Which task goes to which worker, and why a task goes nowhere. Pure functions of what waits and what is free.
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
  bool needs_cuda = false;
  /// The position of a worker that it goes to only where no other could ever hold it.
  std::optional<size_t> avoided;
};

/// A worker that is alive.
struct Capacity {
  int slots = 0;
  int free_slots = 0;
  bool has_cuda = false;
  bool is_draining = false;
  /// It asks for a task right now; only then can it be given one.
  bool is_asking = false;
  /// Other workers can reach it, so it can run a part of a gang.
  bool can_share = false;
};

/// The ranks that one worker runs of a task; the worker as a position in the list given to Place.
struct Share {
  size_t worker = 0;
  int ranks = 0;

  bool operator==(const Share&) const = default;
};

/// Where a task starts.
struct Placement {
  /// Position in the list given to Place.
  size_t demand = 0;
  /// More than one for a gang on several workers; the first leads.
  std::vector<Share> shares;

  bool operator==(const Placement&) const = default;
};

/// At most one task for each asking worker. `demands` is in the order of precedence.
///
/// A task takes the fullest worker that holds it, which keeps larger holes for gangs. A gang for which no single worker
/// is large enough is spread over as few as possible. A gang that fits nowhere yet reserves the emptiest worker, or
/// workers, that could hold it: nothing of lower precedence starts there, so its slots come free one after the other
/// and small tasks cannot starve it.
std::vector<Placement> Place(const std::vector<Demand>& demands, std::vector<Capacity> workers);

/// Whether the worker can start the task now.
bool CanStart(const Capacity& worker, const Demand& demand);

/// What the task waits for, as a word to count by: no_worker | no_cuda | draining | too_large | slots | turn.
std::string_view WaitingKind(const Demand& demand, const std::vector<Capacity>& workers);

/// Why the task does not run, in a few words: "gang needs 4 slots; 2 are free".
std::string WaitingReason(const Demand& demand, const std::vector<Capacity>& workers);

}  // namespace regroup
