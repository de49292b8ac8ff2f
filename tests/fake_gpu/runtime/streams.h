// Streams and events of the pretended CUDA runtime: a stream is a thread that does its work in order, each piece after
// a random pause, so that whoever does not wait for it reads too early. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

namespace regroup::fake_runtime {

/// Longest pause before a piece of work, in microseconds; 0 by default.
inline constexpr char kDelayVariable[] = "FAKE_CUDA_DELAY_US";
/// If set, streams do not wait for events, as if a program had forgotten to ask for it.
inline constexpr char kNoWaitsVariable[] = "FAKE_CUDA_NO_WAITS";

class Stream {
 public:
  Stream();
  void Queue(std::function<void()> work);
  /// Returns once all work is done.
  void Synchronize();
  bool IsIdle();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool busy_ = false;
  std::minstd_rand random_;
  std::thread thread_;
};

/// Counts how often it was recorded, and how many of these the stream has reached.
class Event {
 public:
  void Record(Stream& stream);
  /// Makes later work of the stream wait for what was recorded last.
  void MakeWait(Stream& stream);
  void Synchronize();
  bool IsDone();
  /// Returns the time at which a stream last reached it, in seconds.
  double Reached();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t recorded_ = 0, reached_ = 0;
  double time_ = 0;
};

}  // namespace regroup::fake_runtime
