// Decides in which order waiting tasks get free slots. Pure.
//
// The owner with the fewest slots goes first, counting those it was just given: each gets an equal share of a full
// cluster, and all of an idle one. Among one owner's jobs resources.priority decides, then age. Priority has no effect
// between owners: otherwise every owner would set the highest.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "coordinator/job/time.h"

namespace regroup {

/// A task that could start, with what decides its turn.
struct Claim {
  std::string owner;
  int priority = 0;
  Time create_time{};
  std::string job;
  /// Position in the job.
  size_t task = 0;
  int ranks = 1;
};

/// Returns positions in `claims` in the order of precedence. `busy_slots` holds the slots of each owner's running
/// tasks.
std::vector<size_t> FairOrder(const std::vector<Claim>& claims, const std::map<std::string, int>& busy_slots);

}  // namespace regroup
