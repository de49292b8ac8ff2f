// Tests that a job with more tasks than a job may have fails alone, whoever brought it: a worker's report, or a store.
#include <fmt/format.h>

#include <limits>

#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

class LargeJobTest : public CoordinatorTest {
 protected:
  /// Stores a job as a release without these limits did: inspect has succeeded, and the model has many layers.
  void StoreLargeJob(const std::string& id, v1::TaskState of_the_second) {
    const Time now = FromProto(Submit(Request("clock"))->create_time());
    Job job = MakeJob(id, SmallSpec(), now);
    job.Start(0, "w1", now);
    job.Finish(0, InspectSuccess(), {}, now);
    job.Start(1, "w1", now);
    JobRecord record = job.record();
    record.job.mutable_model()->set_layers(10'000);
    record.job.mutable_tasks(1)->set_state(of_the_second);
    for (int task = record.job.tasks_size(); task < 20'010; ++task) {
      v1::Task& added = *record.job.add_tasks();
      added.set_name(TaskName(id, fmt::format("align-{:05}", task)));
      added.set_kind(v1::TASK_KIND_ALIGN);
      added.set_state(v1::TASK_STATE_BLOCKED);
      record.retries.emplace_back();
    }
    record.job.set_revision(1);
    Changes changes;
    changes.jobs.push_back({record, {}});
    for (int task = 0; task < record.job.tasks_size(); ++task) {
      changes.jobs.back().changed_tasks.push_back(static_cast<size_t>(task));
    }
    ASSERT_TRUE(store_->Commit(changes).ok());
  }
  void ExpectFailed(const std::string& id) {
    ASSERT_TRUE(Eventually([&] { return Get(JobName(id))->state() == v1::JOB_STATE_FAILED; }));
    const v1::Job job = *Get(JobName(id));
    EXPECT_EQ(job.failure().failure_class(), v1::FAILURE_CLASS_USER);
    EXPECT_THAT(job.failure().message(), HasSubstr("source.checkpoint has 10000 attention layers"));
    for (int task = 1; task < job.tasks_size(); ++task) {
      ASSERT_EQ(job.tasks(task).state(), v1::TASK_STATE_CANCELLED) << task;
    }
  }
};

TEST_F(LargeJobTest, FailsWhereAWorkerReportsMoreLayersThanAModelHas) {
  ASSERT_TRUE(Register(w1_).ok());
  for (const int layers : {10'000, std::numeric_limits<int>::max()}) {
    const std::string id = fmt::format("deep-{}", layers);
    ASSERT_TRUE(Submit(Request(id)).ok());
    ASSERT_TRUE(Report(w1_.Report(Acquire(w1_)->attempt(), InspectSuccess(SmallModel(layers)))).ok());
    w1_.running.clear();
    const v1::Job job = *Get(JobName(id));
    EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
    EXPECT_EQ(job.tasks_size(), 1);
    EXPECT_EQ(job.failure().failure_class(), v1::FAILURE_CLASS_USER);
    EXPECT_THAT(job.failure().message(), HasSubstr(fmt::format("source.checkpoint has {} attention layers", layers)));
  }
}

TEST_F(LargeJobTest, InspectsAgainWhenItIsRetried) {
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("deep")).ok());
  for (const int layers : {10'000, 0}) {
    ASSERT_TRUE(Report(w1_.Report(Acquire(w1_)->attempt(), InspectSuccess(SmallModel(layers)))).ok());
    w1_.running.clear();
    ASSERT_EQ(Get("jobs/deep")->state(), v1::JOB_STATE_FAILED);
    EXPECT_EQ(Retry("jobs/deep")->state(), v1::JOB_STATE_QUEUED);
  }
  EXPECT_EQ(RunOne(w1_), "inspect");
  EXPECT_EQ(Get("jobs/deep")->state(), v1::JOB_STATE_RUNNING);
}

TEST_F(LargeJobTest, OfAStoreFailsAndTheOthersGoOn) {
  StoreLargeJob("large", v1::TASK_STATE_READY);
  Start();
  ExpectFailed("large");
  ASSERT_TRUE(Register(w1_).ok());
  EXPECT_EQ(Acquire(w1_)->attempt().job(), "clock");
  Start();
  ExpectFailed("large");
  const absl::Status retried = Retry("jobs/large").status();
  EXPECT_EQ(ReasonOf(retried), v1::WRONG_STATE);
  EXPECT_THAT(std::string(retried.message()), HasSubstr("source.checkpoint has 10000 attention layers"));
}

TEST_F(LargeJobTest, OfAStoreStopsItsRunningTaskFirst) {
  StoreLargeJob("large", v1::TASK_STATE_RUNNING);
  Start();
  v1::AttemptId& attempt = w1_.running.emplace_back();
  attempt.set_job("large");
  attempt.set_task("calibrate");
  attempt.set_epoch(1);
  v1::RegisterWorkerResponse registered;
  ASSERT_TRUE(Register(w1_, &registered).ok());
  EXPECT_EQ(registered.stop_size(), 1);
  EXPECT_EQ(Get("jobs/large")->state(), v1::JOB_STATE_RUNNING);
  ASSERT_TRUE(Report(w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_INTERNAL))).ok());
  ExpectFailed("large");
}

TEST_F(LargeJobTest, KeepsABoundedNumberOfFigures) {
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  RunOne(w1_);
  for (int task = 0; task < 3; ++task) {
    v1::TaskOutcome outcome = Success();
    for (int i = 0; i < 9'000; ++i) (*outcome.mutable_figures())[fmt::format("{}-{}", task, i)] = i;
    ASSERT_TRUE(Report(w1_.Report(Acquire(w1_)->attempt(), outcome)).ok());
    w1_.running.clear();
  }
  EXPECT_EQ(Get("jobs/small-1")->figures_size(), 10'000);
}

}  // namespace
}  // namespace regroup
