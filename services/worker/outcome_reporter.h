// Reports the outcomes of attempts to the coordinator, retrying for as long as it takes, and publishes results first.
//
// Owned by the worker. Has a thread of its own; Add may be called from any thread. An outcome is kept, across restarts
// of the coordinator, until the coordinator accepts it or rejects it as stale; only then is the attempt forgotten.
// After an accepted success the task's working files are removed, beside everything else: they may be many gigabytes.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "services/worker/attempt/attempt_table.h"
#include "services/worker/coordinator_link.h"
#include "services/worker/log_pusher.h"

namespace regroup {

class OutcomeReporter {
 public:
  /// The objects outlive the reporter. `work_folder` is the one shared by the workers.
  OutcomeReporter(CoordinatorLink* link, LogPusher* pusher, std::filesystem::path work_folder);
  ~OutcomeReporter();

  /// Ends the thread. Attempts that are added later are kept and never sent. Call it before the table of attempts is
  /// destroyed.
  void Shutdown();

  void Add(EndedAttempt ended);

 private:
  enum class Answer { kTaken, kRefused, kTryAgain };

  static Answer AnswerOf(const absl::Status& status);
  void Run();
  void TryAll();
  Answer Try(const EndedAttempt& ended);
  Answer PublishThenReport(EndedAttempt ended);
  Answer Report(const EndedAttempt& ended);
  void StartRemoval(const AttemptKey& key);

  CoordinatorLink* const link_;
  LogPusher* const pusher_;
  const std::filesystem::path work_folder_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<AttemptKey, EndedAttempt> waiting_;
  bool has_new_ = false;
  bool stopping_ = false;

  /// Used by the thread only.
  std::vector<std::future<void>> removals_;

  std::thread thread_;
};

}  // namespace regroup
