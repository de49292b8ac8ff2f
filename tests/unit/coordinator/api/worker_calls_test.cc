// Tests the calls of workers, also across a restart of the coordinator.
#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CoordinatorTest, DoesNotHandOutATaskThatTheStoreRefuses) {
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  store_->FailCommits(true);
  v1::AcquireTaskResponse response;
  const absl::Status status = Call(workers_, &v1::WorkerService::StubInterface::AcquireTask,
                                   w1_.Acquire(1, std::chrono::seconds(20)), &response);
  EXPECT_EQ(ReasonOf(status), v1::STORE_UNAVAILABLE);
  EXPECT_FALSE(response.has_assignment());
  EXPECT_TRUE(Beat(w1_).ok()) << "heartbeats do not need the store";
  store_->FailCommits(false);
  EXPECT_EQ(Acquire(w1_)->attempt().epoch(), 1);
}

TEST_F(CoordinatorTest, GoesOnAfterARestartWithoutRepeatingFinishedTasks) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  for (int task = 0; task < 3; ++task) RunOne(w1_);
  const auto running = Acquire(w1_);
  Start();
  EXPECT_EQ(ReasonOf(Beat(w1_).status()), v1::WORKER_NOT_REGISTERED);
  v1::RegisterWorkerResponse response;
  ASSERT_TRUE(Register(w1_, &response).ok());
  EXPECT_EQ(response.stop_size(), 0);
  EXPECT_TRUE(Report(w1_.Report(running->attempt(), Success())).ok());
  w1_.running.clear();
  std::string last;
  while (last != "report") last = RunOne(w1_);
  const v1::Job job = *Get("jobs/small-1");
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
  for (const v1::Task& task : job.tasks()) EXPECT_EQ(task.epoch(), 1) << task.name();
}

TEST_F(CoordinatorTest, AcceptsTheRepeatedReportThatEndedAJob) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  const auto report = w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_USER));
  EXPECT_TRUE(Report(report).ok());
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_FAILED);
  EXPECT_TRUE(Report(report).ok());
}

TEST_F(CoordinatorTest, DoesNotDisownAReportThatItCannotLookUp) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const auto report = w1_.Report(Acquire(w1_)->attempt(), FailureOf(v1::FAILURE_CLASS_USER));
  EXPECT_TRUE(Report(report).ok());
  store_->FailReads(true);
  EXPECT_EQ(Report(report).code(), absl::StatusCode::kUnavailable) << "a worker that retries must not get NOT_FOUND";
  store_->FailReads(false);
  EXPECT_TRUE(Report(report).ok());
}

TEST_F(CoordinatorTest, ShowsAndDrainsWorkers) {
  ASSERT_TRUE(Register(FakeWorker("w2", 4)).ok());
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Acquire(w1_));
  v1::ListWorkersRequest list;
  list.set_page_size(1);
  v1::ListWorkersResponse page;
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::ListWorkers, list, &page).ok());
  ASSERT_EQ(page.workers_size(), 1);
  EXPECT_EQ(page.workers(0).busy_slots(), 1);
  EXPECT_THAT(page.workers(0).running_tasks(), ElementsAre("jobs/small-1/tasks/inspect"));
  list.set_page_token(page.next_page_token());
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::ListWorkers, list, &page).ok());
  EXPECT_EQ(page.workers(0).name(), "workers/w2");
  EXPECT_EQ(page.next_page_token(), "");

  v1::DrainWorkerRequest drain;
  drain.set_name("workers/w2");
  v1::Worker worker;
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::DrainWorker, drain, &worker).ok());
  EXPECT_EQ(worker.state(), v1::WORKER_STATE_DRAINING);
  drain.set_name("workers/none");
  EXPECT_EQ(ReasonOf(Call(cluster_, &v1::ClusterService::StubInterface::DrainWorker, drain, &worker)),
            v1::RESOURCE_NOT_FOUND);
}

TEST_F(CoordinatorTest, SaysWhatItCanConvert) {
  v1::ServerInfo info;
  ASSERT_TRUE(
      Call(cluster_, &v1::ClusterService::StubInterface::GetServerInfo, v1::GetServerInfoRequest(), &info).ok());
  EXPECT_THAT(info.families(), ::testing::Contains("llama"));
  EXPECT_THAT(info.alignment_methods(), ::testing::Contains("procrustes"));
  EXPECT_FALSE(info.version().empty());
}

TEST_F(CoordinatorTest, ShowsFiguresOfAJobUntilItsEndAndNotAfter) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  v1::AttemptReport report;
  *report.mutable_attempt() = attempt;
  for (const char* metric : {"loss", "checkpoint_seconds"}) {
    v1::MetricPoint* point = report.add_metrics();
    point->set_metric(metric);
    point->set_step(7);
    point->set_value(2.5);
    point->mutable_time()->set_seconds(1000);
  }
  ASSERT_TRUE(Push(w1_, report).ok());
  const std::string labels = "{job_id=\"small-1\",task=\"inspect\"} ";
  const std::string during = coordinator_->metrics().metrics().Text();
  EXPECT_THAT(during, HasSubstr("regroup_job_loss" + labels + "2.5"));
  EXPECT_THAT(during, HasSubstr("regroup_job_step" + labels + "7"));
  EXPECT_THAT(during, HasSubstr("regroup_job_step_timestamp_seconds" + labels + "1000"));
  EXPECT_THAT(during, HasSubstr("regroup_job_checkpoint_timestamp_seconds" + labels + "1000"));

  ASSERT_TRUE(Report(w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_USER))).ok());
  ASSERT_TRUE(Push(w1_, report).ok());
  EXPECT_THAT(coordinator_->metrics().metrics().Text(), ::testing::Not(HasSubstr("small-1")));
}

TEST_F(CoordinatorTest, CountsWhatHappens) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  EXPECT_EQ(RunOne(w1_), "inspect");
  const std::string text = coordinator_->metrics().metrics().Text();
  EXPECT_THAT(text, HasSubstr("regroup_tasks_finished_total{kind=\"inspect\",outcome=\"succeeded\"} 1"));
  EXPECT_THAT(text, HasSubstr("regroup_job_queue_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("regroup_jobs_finished_total{failure=\"hang\",state=\"failed\"} 0"));
  EXPECT_THAT(text, HasSubstr("regroup_rpc_seconds_count{code=\"OK\",method=\"/regroup.v1.JobService/SubmitJob\"} 1"));
}

}  // namespace
}  // namespace regroup
