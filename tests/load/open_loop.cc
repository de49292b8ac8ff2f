#include "tests/load/open_loop.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace regroup {
namespace {

using Clock = std::chrono::steady_clock;

/// Collects answers, which arrive on other threads.
class Collector {
 public:
  void Take(Clock::time_point due, const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (status.ok()) {
      report_.Add(std::chrono::duration<double, std::milli>(Clock::now() - due).count());
    } else {
      report_.AddFailure(status);
    }
    changed_.notify_all();
  }

  LatencyReport WaitFor(size_t calls) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return report_.answered() + report_.failed() == calls; });
    return report_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  LatencyReport report_;
};

double Percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())))];
}

}  // namespace

void LatencyReport::AddFailure(const absl::Status& status) {
  if (failed_++ == 0) first_failure_ = status.ToString();
}

nlohmann::json LatencyReport::ToJson() const {
  std::vector<double> sorted = milliseconds_;
  std::sort(sorted.begin(), sorted.end());
  return {{"answered", sorted.size()},
          {"failed", failed_},
          {"first_failure", first_failure_},
          {"p50_ms", Percentile(sorted, 0.50)},
          {"p90_ms", Percentile(sorted, 0.90)},
          {"p99_ms", Percentile(sorted, 0.99)},
          {"max_ms", sorted.empty() ? 0 : sorted.back()}};
}

LatencyReport RunOpenLoop(double per_second, double seconds, const StartCall& start) {
  Collector collector;
  const int calls = static_cast<int>(per_second * seconds);
  const Clock::time_point begin = Clock::now();
  for (int call = 0; call < calls; ++call) {
    const auto offset = std::chrono::duration<double>(call / per_second);
    const Clock::time_point due = begin + std::chrono::duration_cast<Clock::duration>(offset);
    std::this_thread::sleep_until(due);
    start(call, [&collector, due](const absl::Status& status) { collector.Take(due, status); });
  }
  return collector.WaitFor(static_cast<size_t>(calls));
}

}  // namespace regroup
