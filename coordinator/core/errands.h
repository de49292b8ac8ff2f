// A thread for what may take long and nobody decides by: removing files, copying the store. One after the other.
//
// Run may be called from any thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace regroup {

class Errands {
 public:
  Errands() : thread_(&Errands::Work, this) {}
  ~Errands() { Stop(); }

  void Run(std::function<void()> errand);

  /// Returns when everything that was given to it is done. Nothing may be given to it afterwards.
  void Stop();

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable has_work_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace regroup
