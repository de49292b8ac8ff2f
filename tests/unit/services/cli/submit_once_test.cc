#include "services/cli/submit_once.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace regroup {
namespace {

/// Stores jobs by request id, as the coordinator does.
class FakeJobs {
 public:
  JobCalls Calls() {
    return {.submit = [this](const auto& request) { return Submit(request); },
            .retry = [this](const auto& request) { return Retry(request); },
            .resume = [this](const auto& request) { return Resume(request); },
            .result_exists = [this](const v1::Job&) { return result_exists; }};
  }

  void SetState(const std::string& name, v1::JobState state) { Find(name).set_state(state); }

  bool result_exists = true;
  absl::Status submit_status;
  absl::Status retry_status;
  int retries = 0;

 private:
  absl::StatusOr<v1::Job> Submit(const v1::SubmitJobRequest& request) {
    if (!submit_status.ok()) return submit_status;
    auto [entry, added] = jobs_.try_emplace(request.request_id());
    if (added) {
      entry->second.set_name("jobs/" + std::to_string(jobs_.size()));
      entry->second.set_state(v1::JOB_STATE_QUEUED);
    }
    return entry->second;
  }

  absl::StatusOr<v1::Job> Retry(const v1::RetryJobRequest& request) {
    ++retries;
    if (!retry_status.ok()) return retry_status;
    Find(request.name()).set_state(v1::JOB_STATE_QUEUED);
    return Find(request.name());
  }

  absl::StatusOr<v1::Job> Resume(const v1::ResumeJobRequest& request) {
    Find(request.name()).set_state(v1::JOB_STATE_RUNNING);
    return Find(request.name());
  }

  v1::Job& Find(const std::string& name) {
    for (auto& [id, job] : jobs_) {
      if (job.name() == name) return job;
    }
    throw std::out_of_range(name);
  }

  std::map<std::string, v1::Job> jobs_;
};

v1::JobSpec Spec(const std::string& name = "a") {
  v1::JobSpec spec;
  spec.set_name(name);
  return spec;
}

TEST(SubmitOnce, TheSameFileAgainIsTheSameJob) {
  FakeJobs jobs;
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls())->name(), "jobs/1");
  jobs.SetState("jobs/1", v1::JOB_STATE_RUNNING);
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls())->name(), "jobs/1");
}

TEST(SubmitOnce, APausedJobGoesOn) {
  FakeJobs jobs;
  ASSERT_TRUE(SubmitOnce(Spec(), jobs.Calls()).ok());
  for (const v1::JobState state : {v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED}) {
    jobs.SetState("jobs/1", state);
    const auto job = SubmitOnce(Spec(), jobs.Calls());
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_EQ(job->state(), v1::JOB_STATE_RUNNING);
    EXPECT_EQ(job->name(), "jobs/1");
  }
}

TEST(SubmitOnce, AnotherFileIsAnotherJob) {
  FakeJobs jobs;
  EXPECT_EQ(SubmitOnce(Spec("a"), jobs.Calls())->name(), "jobs/1");
  EXPECT_EQ(SubmitOnce(Spec("b"), jobs.Calls())->name(), "jobs/2");
}

TEST(SubmitOnce, AFailedJobIsRetried) {
  FakeJobs jobs;
  ASSERT_TRUE(SubmitOnce(Spec(), jobs.Calls()).ok());
  jobs.SetState("jobs/1", v1::JOB_STATE_FAILED);
  const auto job = SubmitOnce(Spec(), jobs.Calls());
  EXPECT_EQ(job->name(), "jobs/1");
  EXPECT_EQ(job->state(), v1::JOB_STATE_QUEUED);
}

TEST(SubmitOnce, ACancelledJobThatCannotBeRetriedBeginsAnew) {
  FakeJobs jobs;
  ASSERT_TRUE(SubmitOnce(Spec(), jobs.Calls()).ok());
  jobs.SetState("jobs/1", v1::JOB_STATE_CANCELLED);
  jobs.retry_status = absl::FailedPreconditionError("only failed jobs");
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls())->name(), "jobs/2");
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls())->name(), "jobs/2") << "the second job is found again";
}

TEST(SubmitOnce, AFinishedJobIsReturnedWhileItsResultExists) {
  FakeJobs jobs;
  ASSERT_TRUE(SubmitOnce(Spec(), jobs.Calls()).ok());
  jobs.SetState("jobs/1", v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls())->state(), v1::JOB_STATE_SUCCEEDED);
  jobs.result_exists = false;
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls())->name(), "jobs/2");
  EXPECT_EQ(jobs.retries, 0);
}

TEST(SubmitOnce, ErrorsOfTheServiceAreReturned) {
  FakeJobs jobs;
  jobs.submit_status = absl::InvalidArgumentError("no");
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls()).status(), jobs.submit_status);
  jobs.submit_status = absl::OkStatus();
  ASSERT_TRUE(SubmitOnce(Spec(), jobs.Calls()).ok());
  jobs.SetState("jobs/1", v1::JOB_STATE_FAILED);
  jobs.retry_status = absl::UnavailableError("gone");
  EXPECT_EQ(SubmitOnce(Spec(), jobs.Calls()).status(), jobs.retry_status);
}

}  // namespace
}  // namespace regroup
