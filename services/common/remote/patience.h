// Pauses between tries of a request that failed for a reason that may pass.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace regroup {

/// A try that fails this often in a row, without any progress in between, is given up.
inline constexpr int kTries = 6;

/// Returns the pause after the `tried`-th failure in a row: 1, 2, 4 ... seconds, or longer if the server asks for it,
/// but at most a minute.
inline std::chrono::seconds PauseAfter(int tried, std::optional<int> retry_after_s) {
  constexpr int longest_s = 60;
  return std::chrono::seconds(std::min(std::max(retry_after_s.value_or(0), 1 << (tried - 1)), longest_s));
}

}  // namespace regroup
