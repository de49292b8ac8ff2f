#include "coordinator/schedule/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace regroup {
namespace {

bool HasDevice(const Capacity& worker, const Demand& demand) { return worker.has_cuda || !demand.needs_cuda; }

/// Returns true if the worker could run the task if it were idle.
bool CanEverHold(const Capacity& worker, const Demand& demand) {
  return HasDevice(worker, demand) && !worker.is_draining && worker.slots >= demand.ranks;
}

/// Returns true if the worker could run a part of the gang if it were idle.
bool CanEverShare(const Capacity& worker, const Demand& demand) {
  return worker.can_share && HasDevice(worker, demand) && !worker.is_draining;
}

/// Returns true if the gang must be spread: no worker is large enough for all of it, but several together are.
bool MustSpread(const std::vector<Capacity>& workers, const Demand& demand) {
  int together = 0;
  for (const Capacity& worker : workers) {
    if (CanEverHold(worker, demand)) return false;
    if (CanEverShare(worker, demand)) together += worker.slots;
  }
  return together >= demand.ranks;
}

/// Returns the demand with the most of its ranks that the workers could hold; with all of them if they can hold none of
/// the smaller numbers either.
Demand FittedTo(const std::vector<Capacity>& workers, const Demand& demand) {
  if (demand.smaller.empty() || CouldHold(workers, demand)) return demand;
  Demand fitted = demand;
  for (const int ranks : demand.smaller) {
    fitted.ranks = ranks;
    if (CouldHold(workers, fitted)) return fitted;
  }
  return demand;
}

class Placer {
 public:
  Placer(std::vector<Capacity> workers, std::vector<Budget> budgets)
      : workers_(std::move(workers)), budgets_(std::move(budgets)), reserved_(workers_.size(), false) {}

  std::vector<Placement> Place(const std::vector<Demand>& demands) {
    std::vector<Placement> placements;
    for (size_t position = 0; position < demands.size(); ++position) {
      const Demand demand = FittedTo(workers_, demands[position]);
      if (!IsWithinBudget(demand)) continue;
      const bool spreads = demand.ranks > 1 && MustSpread(workers_, demand);
      const std::vector<Share> shares = spreads ? Spread(demand) : OnOneWorker(demand);
      if (!shares.empty()) {
        Take(shares);
        if (demand.budget) budgets_[*demand.budget].busy += demand.ranks;
        placements.push_back({position, shares});
      } else if (spreads) {
        ReserveSeveral(demand);
      } else if (demand.ranks > 1) {
        ReserveEmptiest(demand);
      }
    }
    return placements;
  }

 private:
  bool IsWithinBudget(const Demand& demand) {
    if (!demand.budget) return true;
    Budget& budget = budgets_[*demand.budget];
    if (budget.busy + demand.ranks <= budget.slots) return true;
    // A task that the budget can never hold must not keep the others from running.
    if (demand.ranks <= budget.slots) budget.busy = budget.slots;
    return false;
  }

  void Take(const std::vector<Share>& shares) {
    for (const Share& share : shares) {
      workers_[share.worker].free_slots -= share.ranks;
      workers_[share.worker].is_asking = false;
    }
  }

  std::vector<Share> OnOneWorker(const Demand& demand) const {
    const std::optional<size_t> worker = FullestThatCanStart(demand);
    return worker ? std::vector<Share>{{*worker, demand.ranks}} : std::vector<Share>();
  }

  /// Returns the fewest workers with enough free slots together, the emptiest first; none if all together have too few.
  std::vector<Share> Spread(const Demand& demand) const {
    std::vector<Share> shares;
    int missing = demand.ranks;
    for (const size_t worker : EmptiestFirst(demand)) {
      const Capacity& capacity = workers_[worker];
      if (missing == 0 || !capacity.is_asking || capacity.free_slots < 1) continue;
      shares.push_back({worker, std::min(missing, capacity.free_slots)});
      missing -= shares.back().ranks;
    }
    return missing == 0 ? shares : std::vector<Share>();
  }

  /// Returns the workers that can run a part of the gang.
  std::vector<size_t> EmptiestFirst(const Demand& demand) const {
    std::vector<size_t> order;
    for (size_t worker = 0; worker < workers_.size(); ++worker) {
      if (!reserved_[worker] && CanEverShare(workers_[worker], demand)) order.push_back(worker);
    }
    std::stable_sort(order.begin(), order.end(),
                     [this](size_t a, size_t b) { return workers_[a].free_slots > workers_[b].free_slots; });
    return order;
  }

  void ReserveSeveral(const Demand& demand) {
    int missing = demand.ranks;
    for (const size_t worker : EmptiestFirst(demand)) {
      if (missing <= 0) return;
      reserved_[worker] = true;
      missing -= workers_[worker].slots;
    }
  }

  std::optional<size_t> FullestThatCanStart(const Demand& demand) const {
    std::optional<size_t> best;
    const auto is_better = [&](size_t worker) {
      if (!best || demand.disliked == *best) return true;
      return demand.disliked != worker && workers_[worker].free_slots < workers_[*best].free_slots;
    };
    for (size_t worker = 0; worker < workers_.size(); ++worker) {
      if (reserved_[worker] || !CanStart(workers_[worker], demand) || IsAvoided(worker, demand)) continue;
      if (is_better(worker)) best = worker;
    }
    return best;
  }

  bool IsAvoided(size_t worker, const Demand& demand) const {
    if (demand.avoided != worker) return false;
    for (size_t other = 0; other < workers_.size(); ++other) {
      if (other != worker && CanEverHold(workers_[other], demand)) return true;
    }
    return false;
  }

  void ReserveEmptiest(const Demand& demand) {
    std::optional<size_t> best;
    for (size_t worker = 0; worker < workers_.size(); ++worker) {
      if (reserved_[worker] || !CanEverHold(workers_[worker], demand)) continue;
      if (!best || workers_[worker].free_slots > workers_[*best].free_slots) best = worker;
    }
    if (best) reserved_[*best] = true;
  }

  std::vector<Capacity> workers_;
  std::vector<Budget> budgets_;
  std::vector<bool> reserved_;
};

template <typename Predicate>
std::vector<Capacity> Filter(const std::vector<Capacity>& workers, Predicate keep) {
  std::vector<Capacity> kept;
  std::copy_if(workers.begin(), workers.end(), std::back_inserter(kept), keep);
  return kept;
}

int Largest(const std::vector<Capacity>& workers, int Capacity::*slots) {
  int largest = 0;
  for (const Capacity& worker : workers) largest = std::max(largest, worker.*slots);
  return largest;
}

/// Why a task waits: the word for it, and the number of slots for its message.
struct Wait {
  std::string_view kind;
  int slots = 0;
};

Wait SpreadWaitOf(const Demand& demand, const std::vector<Capacity>& workers) {
  int free_slots = 0;
  for (const Capacity& worker : workers) {
    if (CanEverShare(worker, demand)) free_slots += std::max(0, worker.free_slots);
  }
  if (free_slots >= demand.ranks) return {"turn"};
  return {"slots", free_slots};
}

/// `demand` is fitted to the workers.
Wait WaitOf(const Demand& demand, const std::vector<Capacity>& workers) {
  if (workers.empty()) return {"no_worker"};
  const auto with_device = Filter(workers, [&](const Capacity& worker) { return HasDevice(worker, demand); });
  if (with_device.empty()) return {"no_cuda"};
  const auto taking = Filter(with_device, [](const Capacity& worker) { return !worker.is_draining; });
  if (taking.empty()) return {"draining"};
  if (demand.ranks > 1 && MustSpread(taking, demand)) return SpreadWaitOf(demand, taking);
  const int largest = Largest(taking, &Capacity::slots);
  if (largest < demand.ranks) return {"too_large", largest};
  const int free_slots = Largest(taking, &Capacity::free_slots);
  if (free_slots >= demand.ranks) return {"turn"};
  return {"slots", std::max(0, free_slots)};
}

std::string SlotsAre(int slots, std::string_view what) {
  if (slots == 0) return fmt::format("none is {}", what);
  return fmt::format("{} {} {}", slots, slots == 1 ? "is" : "are", what);
}

}  // namespace

std::vector<Placement> Place(const std::vector<Demand>& demands, std::vector<Capacity> workers,
                             std::vector<Budget> budgets) {
  return Placer(std::move(workers), std::move(budgets)).Place(demands);
}

bool CouldHold(const std::vector<Capacity>& workers, const Demand& demand) {
  const auto can_hold = [&](const Capacity& worker) { return CanEverHold(worker, demand); };
  return std::any_of(workers.begin(), workers.end(), can_hold) || MustSpread(workers, demand);
}

bool CanStart(const Capacity& worker, const Demand& demand) {
  return worker.is_asking && CanEverHold(worker, demand) && worker.free_slots >= demand.ranks;
}

std::string NeedsSlots(const Demand& demand) {
  return demand.ranks == 1 ? "task needs 1 slot" : fmt::format("gang needs {} slots", demand.ranks);
}

std::string_view WaitingKind(const Demand& demand, const std::vector<Capacity>& workers) {
  return WaitOf(FittedTo(workers, demand), workers).kind;
}

std::string WaitingReason(const Demand& wanted, const std::vector<Capacity>& workers) {
  const Demand demand = FittedTo(workers, wanted);
  const Wait wait = WaitOf(demand, workers);
  if (wait.kind == "no_worker") return "no worker is connected";
  if (wait.kind == "no_cuda") return "no worker has a CUDA device";
  if (wait.kind == "draining") return "every worker is draining";
  if (wait.kind == "too_large") return fmt::format("{}; the largest worker has {}", NeedsSlots(demand), wait.slots);
  if (wait.kind == "turn") return "waits for its turn";
  return fmt::format("{}; {}", NeedsSlots(demand), SlotsAre(wait.slots, "free"));
}

}  // namespace regroup
