#include "coordinator/schedule/preemption.h"

#include <algorithm>
#include <tuple>

namespace regroup {
namespace {

/// Returns true if the last task can start once these jobs have stopped.
bool CanStartWithout(const std::vector<size_t>& stopped, const std::vector<Demand>& demands,
                     const std::vector<Interruptible>& running, std::vector<Capacity> workers,
                     std::vector<Budget> budgets) {
  for (const size_t job : stopped) {
    for (const Share& share : running[job].shares) {
      workers[share.worker].free_slots += share.ranks;
      if (demands.back().budget) budgets[*demands.back().budget].busy -= share.ranks;
    }
  }
  // The workers ask as soon as they have free slots.
  for (Capacity& worker : workers) worker.is_asking = true;
  const std::vector<Placement> placed = Place(demands, std::move(workers), std::move(budgets));
  return !placed.empty() && placed.back().demand == demands.size() - 1;
}

}  // namespace

bool TakeSlots(const Demand& demand, std::vector<Capacity>* workers, std::vector<Budget>* budgets) {
  const std::vector<Placement> placed = Place({demand}, *workers, *budgets);
  if (placed.empty()) return false;
  for (const Share& share : placed.front().shares) {
    (*workers)[share.worker].free_slots -= share.ranks;
    if (demand.budget) (*budgets)[*demand.budget].busy += share.ranks;
  }
  return true;
}

std::vector<size_t> WhoGivesWay(const std::string& owner, int priority, const std::vector<Demand>& demands,
                                const std::vector<Interruptible>& running, const std::vector<Capacity>& workers,
                                const std::vector<Budget>& budgets) {
  const auto can_start = [&](const std::vector<size_t>& stopped) {
    return CanStartWithout(stopped, demands, running, workers, budgets);
  };
  std::vector<size_t> candidates;
  for (size_t job = 0; job < running.size(); ++job) {
    if (running[job].owner == owner && running[job].priority < priority) candidates.push_back(job);
  }
  if (candidates.empty()) return {};
  std::stable_sort(candidates.begin(), candidates.end(), [&](size_t a, size_t b) {
    return std::tie(running[a].priority, running[b].started) < std::tie(running[b].priority, running[a].started);
  });
  std::vector<size_t> stopped;
  for (auto next = candidates.begin(); !can_start(stopped); ++next) {
    if (next == candidates.end()) return {};
    stopped.push_back(*next);
  }
  // Those whose slots are of no use, because they are on another worker, go on.
  for (size_t i = 0; i < stopped.size();) {
    std::vector<size_t> fewer = stopped;
    fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(i));
    if (can_start(fewer)) {
      stopped = std::move(fewer);
    } else {
      ++i;
    }
  }
  return stopped;
}

}  // namespace regroup
