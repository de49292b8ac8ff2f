// A thread that calls a function again and again, with a pause before each call.
//
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace regroup {

class Ticker {
 public:
  Ticker(std::chrono::milliseconds pause, std::function<void()> tick);
  ~Ticker() { Stop(); }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  /// Waits for a call that is under way; none is made afterwards. Must not be called by the function.
  void Stop();

 private:
  void Run();

  const std::chrono::milliseconds pause_;
  const std::function<void()> tick_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace regroup
