// Tests cancelling, retrying, deleting, listing and planning.
#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

TEST_F(CoordinatorTest, CancelsAndRetriesAndDeletes) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  EXPECT_EQ(ReasonOf(Delete("jobs/small-1")), v1::WRONG_STATE);
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Report(w1_.Report(Acquire(w1_)->attempt(), FailureOf(v1::FAILURE_CLASS_DATA))).ok());
  w1_.running.clear();
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(Retry("jobs/small-1")->state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(Acquire(w1_)->attempt().epoch(), 2);
  EXPECT_EQ(Cancel("jobs/small-1")->state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(Beat(w1_)->stop_size(), 1);
  ASSERT_TRUE(Report(w1_.Report(w1_.running.back(), FailureOf(v1::FAILURE_CLASS_INTERNAL))).ok());
  EXPECT_EQ(Cancel("jobs/small-1")->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(Retry("jobs/small-1")->state(), v1::JOB_STATE_QUEUED) << "a cancelled job may resume";
  EXPECT_EQ(ReasonOf(Retry("jobs/small-1").status()), v1::WRONG_STATE);
  EXPECT_EQ(Cancel("jobs/small-1")->state(), v1::JOB_STATE_CANCELLED);
  std::filesystem::create_directories(folder_ / "jobs" / "small-1" / "inspect");
  EXPECT_TRUE(Delete("jobs/small-1").ok());
  EXPECT_TRUE(Eventually([&] { return !std::filesystem::exists(folder_ / "jobs" / "small-1"); }));
  EXPECT_EQ(ReasonOf(Get("jobs/small-1").status()), v1::RESOURCE_NOT_FOUND);
}

TEST_F(CoordinatorTest, PausesAndResumes) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  EXPECT_EQ(Pause("jobs/small-1")->state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(Get("jobs/small-1")->waiting_reason(), "paused until it is resumed");
  EXPECT_EQ(Pause("jobs/small-1")->state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(ReasonOf(Delete("jobs/small-1")), v1::WRONG_STATE);
  EXPECT_EQ(ReasonOf(Retry("jobs/small-1").status()), v1::WRONG_STATE);
  Start();
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_PAUSED) << "a restart of the coordinator resumes nothing";
  EXPECT_EQ(Resume("jobs/small-1")->state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(ReasonOf(Resume("jobs/small-1").status()), v1::WRONG_STATE);
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  EXPECT_EQ(Pause("jobs/small-1")->state(), v1::JOB_STATE_PAUSING);
  EXPECT_EQ(Beat(w1_)->pause_size(), 1);
  v1::TaskOutcome paused;
  paused.set_paused(true);
  ASSERT_TRUE(Report(w1_.Report(attempt, paused)).ok());
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(Cancel("jobs/small-1")->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(ReasonOf(Pause("jobs/small-1").status()), v1::WRONG_STATE);
  EXPECT_EQ(ReasonOf(Resume("jobs/small-1").status()), v1::WRONG_STATE);
  EXPECT_EQ(ReasonOf(Pause("jobs/none").status()), v1::RESOURCE_NOT_FOUND);
}

TEST_F(CoordinatorTest, ListsJobsPageByPage) {
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(Submit(Request(id)).ok());
  v1::ListJobsRequest request;
  request.set_page_size(2);
  v1::ListJobsResponse page;
  ASSERT_TRUE(Call(jobs_, &v1::JobService::StubInterface::ListJobs, request, &page).ok());
  ASSERT_EQ(page.jobs_size(), 2);
  EXPECT_EQ(page.jobs(0).name(), "jobs/c");
  EXPECT_EQ(page.jobs(0).waiting_reason(), "no worker is connected");
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(Call(jobs_, &v1::JobService::StubInterface::ListJobs, request, &page).ok());
  ASSERT_EQ(page.jobs_size(), 1);
  EXPECT_EQ(page.jobs(0).name(), "jobs/a");
  EXPECT_EQ(page.next_page_token(), "");
  request.set_page_token("nonsense");
  EXPECT_EQ(ReasonOf(Call(jobs_, &v1::JobService::StubInterface::ListJobs, request, &page)), v1::INVALID_FIELD);
}

TEST_F(CoordinatorTest, PlansNoJobThatItWouldRefuse) {
  v1::PlanJobRequest request;
  v1::PlanJobResponse response;
  EXPECT_EQ(ReasonOf(Call(jobs_, &v1::JobService::StubInterface::PlanJob, request, &response)), v1::INVALID_FIELD);
}

TEST_F(CoordinatorTest, RefusesNamesOfAnotherForm) {
  EXPECT_EQ(ReasonOf(Get("small-1").status()), v1::INVALID_FIELD);
  EXPECT_EQ(ReasonOf(Get("jobs/").status()), v1::INVALID_FIELD);
  EXPECT_THAT(WatchToTheEnd("jobs/unknown"), ::testing::IsEmpty());
  EXPECT_EQ(ReasonOf(stream_status_), v1::RESOURCE_NOT_FOUND);
}

}  // namespace
}  // namespace regroup
