#include "coordinator/schedule/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace regroup {
namespace {

bool HasDevice(const Capacity& worker, const Demand& demand) { return worker.has_cuda || !demand.needs_cuda; }

/// Whether the worker could run the task if it were empty.
bool CanEverHold(const Capacity& worker, const Demand& demand) {
  return HasDevice(worker, demand) && !worker.is_draining && worker.slots >= demand.ranks;
}

bool CanStart(const Capacity& worker, const Demand& demand) {
  return worker.is_asking && CanEverHold(worker, demand) && worker.free_slots >= demand.ranks;
}

class Placer {
 public:
  explicit Placer(std::vector<Capacity> workers) : workers_(std::move(workers)), reserved_(workers_.size(), false) {}

  std::vector<Placement> Place(const std::vector<Demand>& demands) {
    std::vector<Placement> placements;
    for (size_t position = 0; position < demands.size(); ++position) {
      if (const std::optional<size_t> worker = FullestThatCanStart(demands[position])) {
        placements.push_back({position, *worker});
        workers_[*worker].free_slots -= demands[position].ranks;
        workers_[*worker].is_asking = false;
      } else if (demands[position].ranks > 1) {
        ReserveEmptiest(demands[position]);
      }
    }
    return placements;
  }

 private:
  std::optional<size_t> FullestThatCanStart(const Demand& demand) const {
    std::optional<size_t> best;
    for (size_t worker = 0; worker < workers_.size(); ++worker) {
      if (reserved_[worker] || !CanStart(workers_[worker], demand)) continue;
      if (!best || workers_[worker].free_slots < workers_[*best].free_slots) best = worker;
    }
    return best;
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

std::string NeedsSlots(const Demand& demand) {
  return demand.ranks == 1 ? "task needs 1 slot" : fmt::format("gang needs {} slots", demand.ranks);
}

/// What a waiting task finds: the word for it, and how many slots the sentence about it names.
struct Wait {
  std::string_view kind;
  int slots = 0;
};

Wait WaitOf(const Demand& demand, const std::vector<Capacity>& workers) {
  if (workers.empty()) return {"no_worker"};
  const auto with_device = Filter(workers, [&](const Capacity& worker) { return HasDevice(worker, demand); });
  if (with_device.empty()) return {"no_cuda"};
  const auto taking = Filter(with_device, [](const Capacity& worker) { return !worker.is_draining; });
  if (taking.empty()) return {"draining"};
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

std::vector<Placement> Place(const std::vector<Demand>& demands, std::vector<Capacity> workers) {
  return Placer(std::move(workers)).Place(demands);
}

std::string_view WaitingKind(const Demand& demand, const std::vector<Capacity>& workers) {
  return WaitOf(demand, workers).kind;
}

std::string WaitingReason(const Demand& demand, const std::vector<Capacity>& workers) {
  const Wait wait = WaitOf(demand, workers);
  if (wait.kind == "no_worker") return "no worker is connected";
  if (wait.kind == "no_cuda") return "no worker has a CUDA device";
  if (wait.kind == "draining") return "every worker is draining";
  if (wait.kind == "too_large") return fmt::format("{}; the largest worker has {}", NeedsSlots(demand), wait.slots);
  if (wait.kind == "turn") return "waits for its turn";
  return fmt::format("{}; {}", NeedsSlots(demand), SlotsAre(wait.slots, "free"));
}

}  // namespace regroup
