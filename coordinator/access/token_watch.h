// Ends what a caller has opened once its token is no longer valid: an open stream makes no further call that would be
// checked.
//
// Thread-safe. Owned by Access.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "coordinator/access/access_rules.h"
#include "services/common/base/ticker.h"

namespace regroup {

class TokenWatch {
 public:
  /// Returns why the caller is no longer admitted; OK while it is.
  using Check = std::function<absl::Status(const Caller&)>;
  using End = std::function<void(const absl::Status& why)>;

  /// Checks every watched caller once in each interval, and calls `tick` as often, on a thread of its own.
  TokenWatch(Check check, std::function<void()> tick, std::chrono::milliseconds interval);

  /// Calls `end` once, on the watch's thread, when the caller is no longer admitted, unless the returned handle is gone
  /// by then. A call that is under way when the handle goes may still end; it must not block.
  [[nodiscard]] std::shared_ptr<void> Watch(const Caller& caller, End end);

  /// Ends the thread: no `end` is called afterwards.
  void Stop() { ticker_.Stop(); }

 private:
  struct Watched {
    Caller caller;
    End end;
  };

  void CheckAll();

  const Check check_;
  std::mutex mutex_;
  std::list<std::weak_ptr<Watched>> watched_;
  /// Declared last: its thread uses the others.
  Ticker ticker_;
};

}  // namespace regroup
