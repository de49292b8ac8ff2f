#include "tests/load/story.h"

#include <fmt/format.h>

#include <fstream>
#include <thread>

#include "coordinator/job/job.h"
#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"
#include "tests/load/history.h"
#include "tests/load/puppet_worker.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kPause(20);
constexpr std::chrono::milliseconds kPatience(2000);
constexpr std::chrono::seconds kLongestStep(60);

v1::TaskOutcome FailureOf(v1::FailureClass failure_class) {
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(failure_class);
  outcome.mutable_failure()->set_message("told by the story");
  return outcome;
}

class Story {
 public:
  Story(const Connection& users, const Connection& workers, std::string step_file)
      : step_file_(std::move(step_file)),
        jobs_(users.jobs()),
        puppet_(workers, &journal_, {.id = "load-teller", .mischief = 1}) {}

  absl::Status Tell() {
    REGROUP_RETURN_IF_ERROR(Succeed());
    REGROUP_RETURN_IF_ERROR(CancelBeforeItStarts());
    REGROUP_RETURN_IF_ERROR(CancelWhileItRuns());
    REGROUP_RETURN_IF_ERROR(PauseAndCancel());
    return FailTwice();
  }

  const Journal& journal() const { return journal_; }
  const std::vector<std::string>& steps() const { return steps_; }

 private:
  absl::Status Succeed() {
    REGROUP_ASSIGN_OR_RETURN(const std::string job, Submit("succeeds"));
    while (true) {
      BeginStep("RUNNING: take a task");
      REGROUP_ASSIGN_OR_RETURN(const v1::TaskAssignment task, TakeTask());
      const bool is_last = task.kind() == v1::TASK_KIND_REPORT;
      BeginStep(is_last ? "SUCCEEDED: publish and report" : "RUNNING: report a task");
      REGROUP_RETURN_IF_ERROR(puppet_.Finish(task));
      if (is_last) return Expect(job, v1::JOB_STATE_SUCCEEDED);
    }
  }

  absl::Status CancelBeforeItStarts() {
    REGROUP_ASSIGN_OR_RETURN(const std::string job, Submit("waits"));
    BeginStep("CANCELLED: cancel while it waits");
    REGROUP_RETURN_IF_ERROR(Cancel(job));
    REGROUP_RETURN_IF_ERROR(Expect(job, v1::JOB_STATE_CANCELLED));
    BeginStep("QUEUED: retry");
    REGROUP_RETURN_IF_ERROR(Retry(job));
    REGROUP_RETURN_IF_ERROR(Expect(job, v1::JOB_STATE_QUEUED));
    BeginStep("CANCELLED: cancel again");
    REGROUP_RETURN_IF_ERROR(Cancel(job));
    return Expect(job, v1::JOB_STATE_CANCELLED);
  }

  absl::Status CancelWhileItRuns() {
    REGROUP_ASSIGN_OR_RETURN(const std::string job, Submit("is-stopped"));
    BeginStep("RUNNING: take a task that is cancelled");
    REGROUP_RETURN_IF_ERROR(TakeTask().status());
    BeginStep("CANCELLING: cancel while it runs");
    REGROUP_RETURN_IF_ERROR(Cancel(job));
    BeginStep("CANCELLED: the worker stops");
    puppet_.Drop();
    return Expect(job, v1::JOB_STATE_CANCELLED);
  }

  absl::Status PauseAndCancel() {
    REGROUP_ASSIGN_OR_RETURN(const std::string job, Submit("is-paused"));
    BeginStep("RUNNING: take a task that is paused");
    REGROUP_RETURN_IF_ERROR(TakeTask().status());
    BeginStep("PAUSING: pause while it runs");
    REGROUP_RETURN_IF_ERROR(Pause(job));
    BeginStep("PAUSED: the worker stops");
    puppet_.Drop();
    REGROUP_RETURN_IF_ERROR(Expect(job, v1::JOB_STATE_PAUSED));
    BeginStep("RUNNING: resume");
    REGROUP_RETURN_IF_ERROR(Resume(job));
    REGROUP_RETURN_IF_ERROR(Expect(job, v1::JOB_STATE_RUNNING));
    BeginStep("PAUSED: pause while it waits");
    REGROUP_RETURN_IF_ERROR(Pause(job));
    REGROUP_RETURN_IF_ERROR(Expect(job, v1::JOB_STATE_PAUSED));
    BeginStep("CANCELLED: cancel while it is paused");
    REGROUP_RETURN_IF_ERROR(Cancel(job));
    return Expect(job, v1::JOB_STATE_CANCELLED);
  }

  absl::Status FailTwice() {
    REGROUP_ASSIGN_OR_RETURN(const std::string job, Submit("fails"));
    BeginStep("RUNNING: take a task that is lost");
    REGROUP_ASSIGN_OR_RETURN(const v1::TaskAssignment lost, TakeTask());
    BeginStep("RECOVERING: report a lost node");
    const absl::Status told = puppet_.Report(lost.attempt(), FailureOf(v1::FAILURE_CLASS_INFRA));
    // A report that was applied but not answered ends the attempt: if repeated, it is rejected as one of an old epoch.
    if (!told.ok() && ReasonOf(told) != v1::STALE_EPOCH) return told;
    puppet_.Drop();
    BeginStep("RECOVERING: take the task again");
    REGROUP_ASSIGN_OR_RETURN(const v1::TaskAssignment again, TakeTask());
    BeginStep("FAILED: report a mistake of the user");
    REGROUP_RETURN_IF_ERROR(puppet_.Report(again.attempt(), FailureOf(v1::FAILURE_CLASS_USER)));
    puppet_.Drop();
    REGROUP_RETURN_IF_ERROR(Expect(job, v1::JOB_STATE_FAILED));
    BeginStep("FAILED: delete");
    return Delete(job);
  }

  // Each function makes one step and repeats it until it is answered.

  absl::StatusOr<std::string> Submit(const std::string& request_id) {
    BeginStep("QUEUED: submit");
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(UntilAnswered(
        [&] { return Call(*jobs_, &v1::JobService::Stub::SubmitJob, LoadRequest(request_id), &job, kPatience); }));
    if (request_id != "fails") journal_.Submitted(request_id, job.name());
    return job.name();
  }

  absl::StatusOr<v1::TaskAssignment> TakeTask() {
    const auto deadline = std::chrono::steady_clock::now() + kLongestStep;
    while (std::chrono::steady_clock::now() < deadline) {
      puppet_.KeepRegistered();
      if (const auto assignment = puppet_.Acquire(std::chrono::milliseconds(200))) return *assignment;
    }
    return absl::DeadlineExceededError("no task came");
  }

  absl::Status Cancel(const std::string& name) {
    v1::CancelJobRequest request;
    request.set_name(name);
    v1::Job job;
    return UntilAnswered([&] { return Call(*jobs_, &v1::JobService::Stub::CancelJob, request, &job, kPatience); });
  }

  absl::Status Pause(const std::string& name) {
    v1::PauseJobRequest request;
    request.set_name(name);
    v1::Job job;
    return UntilAnswered([&] { return Call(*jobs_, &v1::JobService::Stub::PauseJob, request, &job, kPatience); });
  }

  absl::Status Resume(const std::string& name) {
    v1::ResumeJobRequest request;
    request.set_name(name);
    v1::Job job;
    const absl::Status status =
        UntilAnswered([&] { return Call(*jobs_, &v1::JobService::Stub::ResumeJob, request, &job, kPatience); });
    // The first of two calls may have succeeded without an answer.
    return ReasonOf(status) == v1::WRONG_STATE ? absl::OkStatus() : status;
  }

  absl::Status Retry(const std::string& name) {
    v1::RetryJobRequest request;
    request.set_name(name);
    v1::Job job;
    const absl::Status status =
        UntilAnswered([&] { return Call(*jobs_, &v1::JobService::Stub::RetryJob, request, &job, kPatience); });
    // The first of two calls may have succeeded without an answer.
    return ReasonOf(status) == v1::WRONG_STATE ? absl::OkStatus() : status;
  }

  absl::Status Delete(const std::string& name) {
    v1::DeleteJobRequest request;
    request.set_name(name);
    google::protobuf::Empty nothing;
    const absl::Status status =
        UntilAnswered([&] { return Call(*jobs_, &v1::JobService::Stub::DeleteJob, request, &nothing, kPatience); });
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    v1::GetJobRequest get;
    get.set_name(name);
    v1::Job job;
    const absl::Status found =
        UntilAnswered([&] { return Call(*jobs_, &v1::JobService::Stub::GetJob, get, &job, kPatience); });
    return absl::IsNotFound(found) ? absl::OkStatus() : absl::InternalError("a deleted job is still there");
  }

  /// Waits for the state, with a worker that keeps sending heartbeats.
  absl::Status Expect(const std::string& name, v1::JobState state) {
    const auto deadline = std::chrono::steady_clock::now() + kLongestStep;
    v1::Job job;
    while (std::chrono::steady_clock::now() < deadline) {
      v1::GetJobRequest request;
      request.set_name(name);
      (void)Call(*jobs_, &v1::JobService::Stub::GetJob, request, &job, kPatience);
      if (job.state() == state) return absl::OkStatus();
      puppet_.KeepRegistered();
      std::this_thread::sleep_for(kPause);
    }
    return absl::DeadlineExceededError(
        fmt::format("{} is {} instead of {}", name, v1::JobState_Name(job.state()), v1::JobState_Name(state)));
  }

  template <typename Act>
  absl::Status UntilAnswered(Act act) {
    const auto deadline = std::chrono::steady_clock::now() + kLongestStep;
    while (true) {
      const absl::Status status = act();
      if (!IsUnanswered(status) || std::chrono::steady_clock::now() > deadline) return status;
      std::this_thread::sleep_for(kPause);
    }
  }

  void BeginStep(const std::string& step) {
    steps_.push_back(step);
    std::ofstream(step_file_) << step;
  }

  const std::string step_file_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  Journal journal_;
  PuppetWorker puppet_;
  std::vector<std::string> steps_;
};

}  // namespace

absl::StatusOr<nlohmann::json> TellStory(const StoryOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(const auto users, Connection::Open(options.users));
  REGROUP_ASSIGN_OR_RETURN(const auto workers, Connection::Open(options.workers));
  Story story(*users, *workers, options.step_file);
  const absl::Status told = story.Tell();
  if (!told.ok()) {
    return absl::Status(told.code(), fmt::format("{}: {}", story.steps().back(), std::string(told.message())));
  }
  REGROUP_ASSIGN_OR_RETURN(const Verdict verdict, Judge(*users, story.journal(), kLongestStep));
  nlohmann::json result = ToJson(verdict, story.journal().promises());
  result["steps"] = story.steps();
  return result;
}

}  // namespace regroup
