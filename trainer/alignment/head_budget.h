// Chooses unequal numbers of KV heads with the same total: layers that lose most by sharing keep more.
//
// Pure functions; they may be called from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

/// Maps a number of KV heads to a layer's loss with it.
using LossOfHeads = std::map<int64_t, double>;

/// Chooses a number of KV heads for every layer such that their sum is `total` and the sum of losses is least; of equal
/// sums, the one with fewer heads in later layers. The answer is exact, by dynamic programming over the layers. Returns
/// INVALID_ARGUMENT if no choice has this sum.
absl::StatusOr<std::vector<int64_t>> SpendHeads(const std::vector<LossOfHeads>& layers, int64_t total);

/// Returns all divisors of `heads` in ascending order, 1 included.
std::vector<int64_t> DivisorsOf(int64_t heads);

}  // namespace regroup
