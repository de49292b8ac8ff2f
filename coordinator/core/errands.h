// Background thread for slow housekeeping that no scheduling decision depends on: removing files, copying the store.
// Runs one errand at a time.
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

  /// Returns when all errands given so far are done. Run must not be called afterwards.
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
