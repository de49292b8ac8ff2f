// The number of windows that pass through a model together where only its forward pass matters.
#pragma once

#include <algorithm>
#include <cstdint>

namespace regroup {

/// Returns as many windows as hold about 2,048 tokens: few enough for memory, and enough to spread the fixed cost of a
/// pass and of a sum over tokens.
inline int64_t WindowsAtOnce(int64_t sequence_length) { return std::max<int64_t>(1, 2048 / sequence_length); }

}  // namespace regroup
