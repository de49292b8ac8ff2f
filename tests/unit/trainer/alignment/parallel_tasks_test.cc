#include "trainer/alignment/parallel_tasks.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace regroup {
namespace {

TEST(ParallelTasks, EveryTaskRunsOnce) {
  std::vector<int> runs(100, 0);
  ParallelTasks(100, 64, [&](int64_t task) { ++runs[task]; });
  EXPECT_EQ(runs, std::vector<int>(100, 1));
}

// A file compiled without OpenMP runs at::parallel_for on one thread without any warning.
TEST(ParallelTasks, TasksAreSpreadOverThreads) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  ParallelTasks(8, 64, [&](int64_t) {
    EXPECT_TRUE(at::in_parallel_region());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  at::set_num_threads(before);
  EXPECT_EQ(threads.size(), 2u);
}

TEST(ParallelTasks, SmallMatricesStayOnTheCallingThread) {
  std::set<std::thread::id> threads;
  ParallelTasks(8, 8, [&](int64_t) { threads.insert(std::this_thread::get_id()); });
  EXPECT_EQ(threads, std::set<std::thread::id>{std::this_thread::get_id()});
}

TEST(ParallelTasks, TheExceptionOfATaskIsThrownOn) {
  EXPECT_THROW(ParallelTasks(3, 64, [](int64_t task) { task == 1 ? throw std::runtime_error("one") : void(); }),
               std::runtime_error);
}

}  // namespace
}  // namespace regroup
