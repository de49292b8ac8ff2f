// Shares work that can be done in any order among threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace regroup {

/// Calls `work(i)` for each i below `count`, on up to `threads` threads, one of which is the caller's. Returns when all
/// calls have ended.
template <typename Work>
void ForEachIndex(size_t count, size_t threads, const Work& work) {
  std::atomic<size_t> next = 0;
  const auto take = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < threads && i < count; ++i) helpers.emplace_back(take);
  take();
}

}  // namespace regroup
