// Brings the ends of attempts to the coordinator, however long that takes, and publishes results on the way.
//
// Owned by the worker. Has a thread of its own; Add may be called from any thread. An end is kept until the coordinator
// takes it or refuses it as stale, over restarts of the coordinator; only then is the attempt removed from the table.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "services/worker/attempt/attempt_table.h"
#include "services/worker/coordinator_link.h"
#include "services/worker/log_pusher.h"

namespace regroup {

class OutcomeReporter {
 public:
  OutcomeReporter(CoordinatorLink* link, LogPusher* pusher, AttemptTable* table);
  ~OutcomeReporter();

  /// Ends the thread. Ends that are added later are kept and never sent.
  void Shutdown();

  void Add(const AttemptKey& key, const v1::TaskOutcome& outcome);

 private:
  enum class Answer { kTaken, kRefused, kTryAgain };

  static Answer AnswerOf(const absl::Status& status);
  void Run();
  void TryAll();
  Answer Try(const AttemptKey& key, const v1::TaskOutcome& outcome);
  Answer PublishThenReport(const AttemptKey& key, v1::TaskOutcome outcome);
  Answer Report(const AttemptKey& key, const v1::TaskOutcome& outcome);

  CoordinatorLink* const link_;
  LogPusher* const pusher_;
  AttemptTable* const table_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<AttemptKey, v1::TaskOutcome> waiting_;
  bool has_new_ = false;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace regroup
