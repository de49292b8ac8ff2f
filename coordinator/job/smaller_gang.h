// Decides with how many ranks training may go on after it lost some (finetune.min_ranks). Pure functions.
#pragma once

#include <cstddef>
#include <vector>

#include "coordinator/job/job.h"

namespace regroup {

/// Returns the numbers of ranks, the largest first, with which a task may start although it should have more: those
/// from finetune.min_ranks on that divide the batch and were not refused for lack of memory. Empty for a task that does
/// not train, and for one that has lost no attempt.
std::vector<int> SmallerGangs(const Job& job, size_t task);

}  // namespace regroup
