// Merges tokens by byte-pair encoding. A pure function, for any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/data/tokenizer/merge_table.h"

namespace regroup {

/// Merges neighbours, smallest rank first and leftmost first among equal ranks, until no pair merges. O(n log n).
std::vector<int32_t> MergeTokens(const std::vector<int32_t>& tokens, const MergeTable& merges);

}  // namespace regroup
