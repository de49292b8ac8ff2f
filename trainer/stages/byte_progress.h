// The progress of a stage that moves bytes on several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "trainer/link/worker_link.h"

namespace regroup {

/// Shows the bytes moved so far, in MB, of `total` bytes. Thread-safe; must outlive its counter.
class ByteProgress {
 public:
  ByteProgress(WorkerLink& link, uint64_t total) : link_(link), total_(static_cast<int64_t>(total)) { Add(0); }

  /// Returns a function that adds bytes; a call with none shows that the stage lives.
  std::function<void(int64_t)> Counter() {
    return [this](int64_t bytes) { Add(bytes); };
  }

 private:
  void Add(int64_t bytes) {
    constexpr int64_t megabyte = 1'000'000;
    const int64_t done = bytes_.fetch_add(bytes) + bytes;
    link_.SetProgress("megabytes", done / megabyte, (total_ + megabyte - 1) / megabyte);
  }

  WorkerLink& link_;
  const int64_t total_;
  std::atomic<int64_t> bytes_ = 0;
};

}  // namespace regroup
