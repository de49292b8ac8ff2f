#include "trainer/alignment/parallel_tasks.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>

namespace regroup {
namespace {

constexpr int64_t kWorthAThread = 32;

}  // namespace

void ParallelTasks(int64_t count, int64_t width, const std::function<void(int64_t)>& task) {
  std::atomic<int64_t> next{0};
  const auto drain = [&](int64_t, int64_t) {
    const at::NoGradGuard no_gradients;  // is a thread's own
    for (int64_t i = next++; i < count; i = next++) task(i);
  };
  const int64_t threads = width < kWorthAThread ? 1 : std::min<int64_t>(at::get_num_threads(), count);
  // One range a thread: at::parallel_for alone would give each thread a fixed share of tasks of unequal length.
  if (threads > 1) return at::parallel_for(0, threads, 1, drain);
  drain(0, 1);
}

}  // namespace regroup
