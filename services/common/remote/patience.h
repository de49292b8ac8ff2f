// Pauses between tries of a request that failed for a reason that may pass.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

namespace regroup {

/// A try that fails this often in a row, without any progress in between, is given up.
inline constexpr int kTries = 6;

/// Called again and again while something is waited for, so that a task does not look hung.
using Tick = std::function<void()>;

/// Waits after the `tried`-th failure in a row: 1, 2, 4 ... seconds, or longer if the server asks for it, but at most a
/// minute.
inline void RestAfter(int tried, std::optional<int> retry_after_s, const Tick& tick) {
  constexpr int longest_s = 60;
  const int seconds = std::min(std::max(retry_after_s.value_or(0), 1 << (tried - 1)), longest_s);
  for (int second = 0; second < seconds; ++second) {
    tick();
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace regroup
