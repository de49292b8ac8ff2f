// Runs independent small linear-algebra tasks, one thread each.
//
// A small decomposition on several OpenMP threads spends its time waiting (a hundred times slower on a 128 x 128
// matrix). Inside a task every ATen operation runs on the task's own thread; tasks are taken by the next free thread.
#pragma once

#include <cstdint>
#include <functional>

namespace regroup {

/// Runs task(0) ... task(count - 1) on ATen's threads; on the calling thread alone if `width`, the size of the matrices
/// that the tasks decompose, is so small that waking another thread would take longer. Tasks run without gradients; the
/// first exception is rethrown. Tasks must not share output. parallel_tasks.cc is compiled with -fopenmp (its CMake
/// file): without it, everything would run on one thread.
void ParallelTasks(int64_t count, int64_t width, const std::function<void(int64_t)>& task);

}  // namespace regroup
