// Sends the attempts' log lines, metrics and progress to the coordinator: every second, or when 200 lines wait.
//
// Owned by the worker. Has a thread of its own; Flush may be called from any thread. A report that cannot be sent is
// kept for the next try; meanwhile the collectors fill up and count what they drop.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "services/worker/coordinator_link.h"
#include "services/worker/logs/log_collector.h"

namespace regroup {

class LogPusher {
 public:
  /// Both outlive the pusher.
  LogPusher(CoordinatorLink* link, const LogCollectors* collectors);
  ~LogPusher();

  /// Sends everything that one attempt has logged so far; gives up at the first error.
  void Flush(const AttemptKey& key);

 private:
  void Run();
  bool WaitForWork();
  void Collect();
  bool SendPending();
  size_t WaitingLines() const;

  CoordinatorLink* const link_;
  const LogCollectors* const collectors_;

  std::mutex mutex_;
  std::condition_variable stopping_condition_;
  bool stopping_ = false;

  /// Held while sending, so that lines arrive in order.
  std::mutex sending_;
  std::deque<v1::AttemptReport> pending_;

  std::thread thread_;
};

}  // namespace regroup
