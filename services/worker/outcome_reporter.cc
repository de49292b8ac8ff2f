#include "services/worker/outcome_reporter.h"

#include <chrono>
#include <string>
#include <utility>

#include "services/common/base/error.h"
#include "services/common/base/logging.h"
#include "services/common/base/trace_parent.h"
#include "services/worker/attempt/finished_task.h"
#include "services/worker/attempt/publication.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kRetryInterval{500};

/// Returns true if the task succeeded; the part of a helper says nothing about that.
bool Succeeded(const EndedAttempt& ended) {
  return ended.leads && !ended.outcome.has_failure() && !ended.outcome.paused();
}

std::string NameOfEnd(const EndedAttempt& ended) {
  if (ended.outcome.has_failure()) return v1::FailureClass_Name(ended.outcome.failure().failure_class());
  if (ended.outcome.paused()) return "PAUSED";
  return Succeeded(ended) ? "SUCCEEDED" : "";
}

}  // namespace

OutcomeReporter::OutcomeReporter(CoordinatorLink* link, LogPusher* pusher, std::filesystem::path work_folder)
    : link_(link), pusher_(pusher), work_folder_(std::move(work_folder)), thread_([this] { Run(); }) {}

OutcomeReporter::~OutcomeReporter() { Shutdown(); }

void OutcomeReporter::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void OutcomeReporter::Add(EndedAttempt ended) {
  const std::lock_guard lock(mutex_);
  const AttemptKey key = ended.key;
  waiting_.insert_or_assign(key, std::move(ended));
  has_new_ = true;
  changed_.notify_all();
}

void OutcomeReporter::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (waiting_.empty()) {
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    } else if (!has_new_) {
      changed_.wait_for(lock, kRetryInterval, [this] { return stopping_ || has_new_; });
    }
    if (stopping_) return;
    has_new_ = false;
    lock.unlock();
    TryAll();
    lock.lock();
  }
}

void OutcomeReporter::TryAll() {
  std::map<AttemptKey, EndedAttempt> all;
  {
    const std::lock_guard lock(mutex_);
    all = waiting_;
  }
  for (const auto& [key, ended] : all) {
    if (Try(ended) == Answer::kTryAgain) continue;
    {
      const std::lock_guard lock(mutex_);
      waiting_.erase(key);
    }
    ended.forget();
  }
}

OutcomeReporter::Answer OutcomeReporter::Try(const EndedAttempt& ended) {
  // Log lines are sent first: a client that follows a job's logs stops reading when the job ends.
  pusher_->Flush(ended.key);
  const bool publishes = !ended.outcome.has_failure() && ended.outcome.has_publication();
  return publishes ? PublishThenReport(ended) : Report(ended);
}

OutcomeReporter::Answer OutcomeReporter::PublishThenReport(EndedAttempt ended) {
  const AttemptKey& key = ended.key;
  v1::TaskOutcome& outcome = ended.outcome;
  const absl::Status permitted = link_->AskToPublish(key);
  const Answer answer = AnswerOf(permitted);
  if (answer == Answer::kRefused) {
    LogWarning(
        "the result was not published",
        {{"job", key.job}, {"task", key.task}, {"epoch", key.epoch}, {"reason", std::string(permitted.message())}});
    RemoveStaged(outcome.publication());
  }
  if (answer != Answer::kTaken) return answer;
  const absl::Status published = Publish(outcome.publication(), AttemptFolder(work_folder_, key).parent_path());
  if (!published.ok()) {
    *outcome.mutable_failure() = PublicationFailure(published);
    outcome.clear_publication();
  }
  return Report(ended);
}

OutcomeReporter::Answer OutcomeReporter::Report(const EndedAttempt& ended) {
  const AttemptKey& key = ended.key;
  const v1::TaskOutcome& outcome = ended.outcome;
  const absl::Status status = link_->ReportOutcome(key, outcome);
  const Answer answer = AnswerOf(status);
  if (answer == Answer::kTaken) {
    LogInfo(ended.leads ? "attempt ended" : "part of an attempt ended", {{"job", key.job},
                                                                         {"task", key.task},
                                                                         {"epoch", key.epoch},
                                                                         {"outcome", NameOfEnd(ended)},
                                                                         {"reason", outcome.failure().message()},
                                                                         {kTraceparentKey, ended.traceparent}});
    if (Succeeded(ended)) StartRemoval(key);
  } else if (answer == Answer::kRefused) {
    LogWarning("the coordinator rejected the outcome; discarding it",
               {{"job", key.job}, {"task", key.task}, {"epoch", key.epoch}, {"reason", std::string(status.message())}});
  }
  return answer;
}

void OutcomeReporter::StartRemoval(const AttemptKey& key) {
  std::erase_if(removals_, [](const auto& removal) {
    return removal.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  });
  removals_.push_back(std::async(std::launch::async, [folder = AttemptFolder(work_folder_, key).parent_path(),
                                                      epoch = key.epoch] { RemoveWorkOfFinishedTask(folder, epoch); }));
}

/// Decides what to do after an error: an outcome that the coordinator will never accept is dropped; all others are
/// retried.
OutcomeReporter::Answer OutcomeReporter::AnswerOf(const absl::Status& status) {
  if (status.ok()) return Answer::kTaken;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return ReasonOf(status) == v1::RESOURCE_NOT_FOUND ? Answer::kRefused : Answer::kTryAgain;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kPermissionDenied:
      return Answer::kRefused;
    default:
      return Answer::kTryAgain;
  }
}

}  // namespace regroup
