// In which order waiting tasks get what is free. Pure.
//
// Between owners the one goes first that has the fewest slots, counting what it was just given: so everybody gets an
// equal share of a full cluster, and all of an idle one. Among its own jobs an owner decides by resources.priority;
// equal ones go by age. Priority does not reach across owners: otherwise everybody would write the highest.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "coordinator/job/time.h"

namespace regroup {

/// A task that could start, as far as its turn is concerned.
struct Claim {
  std::string owner;
  int priority = 0;
  Time create_time{};
  std::string job;
  /// Position in the job.
  size_t task = 0;
  int ranks = 1;
};

/// Positions in `claims` in the order of precedence. `busy_slots` is what each owner's running tasks take.
std::vector<size_t> FairOrder(const std::vector<Claim>& claims, const std::map<std::string, int>& busy_slots);

}  // namespace regroup
