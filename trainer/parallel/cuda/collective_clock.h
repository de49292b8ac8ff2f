// Measures on the GPU how long the computing stream is in collectives or waits for those of a side lane, and knows
// which of them is not done. Thread-safe.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <deque>
#include <mutex>
#include <string>
#include <utility>

namespace regroup {

class CollectiveClock {
 public:
  /// Queues events on the computing stream before and after what `queue` puts there, and returns its result.
  template <typename Queue>
  auto Time(const c10::Stream& stream, std::string name, Queue queue) {
    Span span{.name = std::move(name)};
    span.begin.record(stream);
    auto result = queue();
    span.end.record(stream);
    const std::lock_guard lock(mutex_);
    spans_.push_back(std::move(span));
    return result;
  }

  /// Adds up what is done since the last call. Returns the name of the oldest that has begun and not ended; empty if
  /// there is none.
  std::string Collect();

  double seconds() const {
    const std::lock_guard lock(mutex_);
    return seconds_;
  }

 private:
  struct Span {
    std::string name;
    // With timing, which PyTorch's default leaves out.
    c10::Event begin{c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT};
    c10::Event end{c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT};
  };

  mutable std::mutex mutex_;
  std::deque<Span> spans_;
  double seconds_ = 0;
};

}  // namespace regroup
