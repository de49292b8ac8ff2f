#include "trainer/eval/memory_bandwidth.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "services/common/base/stopwatch.h"

namespace regroup {
namespace {

/// Sums integers, because their order does not matter and the compiler can read whole vectors.
uint64_t SumOf(const uint64_t* values, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i + 8 <= count; i += 8) {
    for (int64_t lane = 0; lane < 8; ++lane) sums[lane] += values[i + lane];
  }
  uint64_t sum = 0;
  for (const uint64_t lane : sums) sum += lane;
  return sum;
}

uint64_t ReadOnCpu(const at::Tensor& buffer) {
  const auto* values = reinterpret_cast<const uint64_t*>(buffer.const_data_ptr<int64_t>());
  std::atomic<uint64_t> sum = 0;
  at::parallel_for(0, buffer.numel(), 1 << 16,
                   [&](int64_t begin, int64_t end) { sum += SumOf(values + begin, end - begin); });
  return sum;
}

/// Returns a result that is used, so that the compiler cannot remove any read.
uint64_t ReadAll(const at::Tensor& buffer) {
  return buffer.is_cpu() ? ReadOnCpu(buffer) : static_cast<uint64_t>(buffer.sum().item<int64_t>());
}

}  // namespace

double MeasureReadBandwidth(int64_t bytes, int repeats, at::Device device) {
  const int64_t words = (bytes + 63) / 64 * 8;
  const at::Tensor buffer = at::ones({words}, at::TensorOptions(at::kLong).device(device));
  uint64_t read = ReadAll(buffer);
  double best = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const Stopwatch watch;
    read += ReadAll(buffer);
    best = std::max(best, static_cast<double>(words * 8) / watch.Seconds());
  }
  return read == 0 ? 0.0 : best;
}

}  // namespace regroup
