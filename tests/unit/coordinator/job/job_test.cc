#include "coordinator/job/job.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/job/assignment.h"
#include "services/common/base/error.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/job/job_fixture.h"

namespace regroup {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr Duration kSecond = std::chrono::seconds(1);

class JobTest : public JobFixture {
 protected:
  JobTest() : JobFixture(kSecond) {}
  void PassTime(Duration time) { now_ += time; }
};

TEST_F(JobTest, StartsQueuedWithInspectReady) {
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(job_.proto().name(), "jobs/small-1");
  EXPECT_THAT(Ready(), ElementsAre("inspect"));
}

TEST_F(JobTest, LearnsItsTasksFromInspect) {
  Run("inspect", InspectSuccess(SmallModel(3)));
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(job_.proto().model().layers(), 3);
  EXPECT_THAT(Ready(), ElementsAre("calibrate", "evaluate-source", "evaluate-averaged"));
  EXPECT_EQ(State("align-002"), v1::TASK_STATE_BLOCKED);
}

TEST_F(JobTest, SucceedsWhenEveryTaskHas) {
  RunUntilTraining();
  for (const char* task : {"finetune", "export", "evaluate-source", "evaluate-averaged", "evaluate-aligned"}) Run(task);
  v1::TaskOutcome measured;
  (*measured.mutable_figures())["perplexity/result"] = 41.5;
  Run("evaluate-result", measured);
  v1::TaskOutcome published;
  published.mutable_publication()->set_published("/models/small-gqa2");
  Run("report", published);

  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(job_.proto().figures(), UnorderedElementsAre(Pair("perplexity/result", 41.5)));
  EXPECT_EQ(job_.proto().report_folder(), "/models/small-gqa2/regroup");
  EXPECT_EQ(FromProto(job_.proto().end_time()), now_);
}

TEST_F(JobTest, KeepsEachWarningOfItsTasksOnceForTheReport) {
  v1::TaskOutcome inspected = InspectSuccess(SmallModel(3));
  inspected.add_warnings("one");
  Run("inspect", inspected);
  v1::TaskOutcome calibrated;
  for (const char* warning : {"two", "one"}) calibrated.add_warnings(warning);
  Run("calibrate", calibrated);
  EXPECT_THAT(job_.proto().warnings(), ElementsAre("one", "two"));
  EXPECT_THAT(MakeAssignment(job_, job_.task_count() - 1, {}).warnings(), ElementsAre("one", "two"));
}

TEST_F(JobTest, KeepsNoMoreWarningsThanFitIntoEveryStoredChange) {
  v1::TaskOutcome inspected = InspectSuccess(SmallModel(3));
  inspected.add_warnings(std::string(size_t{1} << 16, 'a'));
  for (int i = 0; i < 100; ++i) inspected.add_warnings(fmt::format("{:04}", i) + std::string(1000, 'b'));
  inspected.add_warnings("short");
  Run("inspect", inspected);
  EXPECT_EQ(job_.proto().warnings_size(), 17);
  EXPECT_EQ(*job_.proto().warnings().rbegin(), "short");
}

TEST_F(JobTest, FailsAtOnceOnAUsersMistake) {
  Run("inspect", FailureOf(v1::FAILURE_CLASS_USER, "target.kv_heads: 3 does not divide 8"));
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job_.proto().failure().failure_class(), v1::FAILURE_CLASS_USER);
  EXPECT_THAT(job_.proto().failure().message(), HasSubstr("3 does not divide 8"));
  EXPECT_EQ(job_.task(0).epoch(), 1);
}

class NeverRetried : public JobTest, public ::testing::WithParamInterface<v1::FailureClass> {};
TEST_P(NeverRetried, FailsTheJob) {
  Run("inspect", FailureOf(GetParam()));
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
}
INSTANTIATE_TEST_SUITE_P(Classes, NeverRetried,
                         ::testing::Values(v1::FAILURE_CLASS_USER, v1::FAILURE_CLASS_DATA,
                                           v1::FAILURE_CLASS_QUALITY_GATE));

TEST_F(JobTest, StartsALostTaskAgainWithTheNextEpochAfterAPause) {
  Start("inspect");
  job_.Lose(0, "worker w1 was silent for 10 s", {}, now_);
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RECOVERING);
  EXPECT_EQ(job_.task(0).infrastructure_failures(), 1);
  EXPECT_THAT(Ready(), ElementsAre());
  PassTime(kSecond);
  EXPECT_THAT(Ready(), ElementsAre("inspect"));
  EXPECT_EQ(Start("inspect"), 2);
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RUNNING);
}

TEST_F(JobTest, GivesUpAfterThreeRestartsWithoutProgress) {
  RunUntilTraining();
  for (int attempt = 1; attempt <= 4; ++attempt) {
    EXPECT_NE(job_.proto().state(), v1::JOB_STATE_FAILED) << attempt;
    Start("finetune");
    job_.Lose(Position("finetune"), "rank 1 was killed", {.done = 25, .log_tail = {"step 25", "signal 9"}}, now_);
    PassTime(std::chrono::minutes(1));
  }
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job_.proto().failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(job_.proto().failure().message(), HasSubstr("after 3 restarts without progress: rank 1 was killed"));
  EXPECT_THAT(job_.proto().failure().log_tail(), ElementsAre("step 25", "signal 9"));
}

TEST_F(JobTest, GoesOnRestartingWhileEachAttemptReachesAnotherCheckpoint) {
  RunUntilTraining();
  for (int attempt = 1; attempt <= 9; ++attempt) {
    Start("finetune");
    Finish("finetune", FailureOf(v1::FAILURE_CLASS_HANG), {.done = 10 * attempt});
    EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RECOVERING) << attempt;
    PassTime(std::chrono::minutes(1));
  }
}

TEST_F(JobTest, DoesNotTakeAFewMoreStepsForProgress) {
  RunUntilTraining();
  for (int attempt = 1; attempt <= 4; ++attempt) {
    Start("finetune");
    Finish("finetune", FailureOf(v1::FAILURE_CLASS_HANG), {.done = 14 + attempt});
    PassTime(std::chrono::minutes(1));
  }
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
}

TEST_F(JobTest, RetriesADefectOfItsOwnOnce) {
  Run("inspect", FailureOf(v1::FAILURE_CLASS_INTERNAL));
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RECOVERING);
  PassTime(kSecond);
  Run("inspect", FailureOf(v1::FAILURE_CLASS_UNSPECIFIED));
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job_.proto().failure().failure_class(), v1::FAILURE_CLASS_INTERNAL);
}

TEST_F(JobTest, FailsOnlyWhenItsOtherTasksHaveStopped) {
  Run("inspect", InspectSuccess());
  Run("calibrate");
  Start("align-000");
  Start("align-001");
  Finish("align-000", FailureOf(v1::FAILURE_CLASS_DATA));
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RUNNING);
  EXPECT_TRUE(job_.IsWindingDown());
  EXPECT_THAT(Ready(), ElementsAre());
  EXPECT_EQ(State("finetune"), v1::TASK_STATE_CANCELLED);
  job_.Lose(Position("align-001"), "stopped", {}, now_);
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(State("align-001"), v1::TASK_STATE_CANCELLED);
}

TEST_F(JobTest, CancelledBeforeAnythingRanIsOverAtOnce) {
  ASSERT_TRUE(job_.Cancel(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(JobTest, CancelledWhileItRunsWaitsForItsTasks) {
  Start("inspect");
  ASSERT_TRUE(job_.Cancel(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_CANCELLING);
  Finish("inspect", FailureOf(v1::FAILURE_CLASS_INTERNAL, "terminated"));
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_CANCELLED);
  EXPECT_FALSE(job_.proto().has_failure());
}

TEST_F(JobTest, CannotBeCancelledOnceItMayHavePublished) {
  job_.GrantPublication();
  const absl::Status status = job_.Cancel(now_);
  EXPECT_EQ(ReasonOf(status), v1::WRONG_STATE);
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_QUEUED);
}

TEST_F(JobTest, CancelLeavesAFinalJobAsItIs) {
  Run("inspect", FailureOf(v1::FAILURE_CLASS_USER));
  ASSERT_TRUE(job_.Cancel(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
}

TEST_F(JobTest, RetryKeepsFinishedTasksAndStartsTheOthersAgain) {
  RunUntilTraining();
  Run("finetune", FailureOf(v1::FAILURE_CLASS_DATA));
  ASSERT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
  ASSERT_TRUE(job_.Retry(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_QUEUED);
  EXPECT_FALSE(job_.proto().has_failure());
  EXPECT_EQ(State("align-000"), v1::TASK_STATE_SUCCEEDED);
  EXPECT_THAT(Ready(), Contains("finetune"));
  EXPECT_EQ(Start("finetune"), 2);
}

TEST_F(JobTest, RetryRefusesAJobThatDidNotFail) { EXPECT_EQ(ReasonOf(job_.Retry(now_)), v1::WRONG_STATE); }

TEST_F(JobTest, FailsWhenItRunsForLongerThanAllowed) {
  Start("inspect");
  PassTime(std::chrono::seconds(86400));
  EXPECT_FALSE(job_.FailIfOverdue(now_));
  PassTime(kSecond);
  EXPECT_TRUE(job_.FailIfOverdue(now_));
  EXPECT_EQ(job_.proto().failure().failure_class(), v1::FAILURE_CLASS_USER);
  EXPECT_THAT(job_.proto().failure().message(), HasSubstr("resources.max_runtime_s"));
}

TEST_F(JobTest, IsTheSameJobAfterAStoreGaveItBack) {
  RunUntilTraining();
  absl::StatusOr<Job> restored = Job::Restore(job_.record(), now_);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_FALSE(restored->HasChangedSince(job_));
  EXPECT_EQ(restored->ReadyTasks(now_), job_.ReadyTasks(now_));
}

/// Makes the record of a job the one that release 0.2.0 stored: without what was added for layerwise distillation.
JobRecord AsStoredBefore(JobRecord record) {
  record.job.mutable_resolved_spec()->clear_layerwise();
  for (v1::Task& task : *record.job.mutable_tasks()) task.clear_layers();
  return record;
}

TEST_F(JobTest, OfAReleaseWithoutLayerwiseGoesOn) {
  RunUntilTraining();
  absl::StatusOr<Job> restored = Job::Restore(AsStoredBefore(job_.record()), now_);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->ReadyTasks(now_), job_.ReadyTasks(now_));
  job_ = *std::move(restored);
  Start("finetune");
  const v1::TaskAssignment assignment = MakeAssignment(job_, Position("finetune"), kSecond);
  EXPECT_EQ(assignment.arm().finetune(), "l0");
  EXPECT_THAT(assignment.inputs(), Contains(Pair("align/1", "jobs/small-1/align-001/1/out")));
}

TEST_F(JobTest, OfAReleaseWithoutLayerwiseLearnsNoTasksOfItFromInspect) {
  v1::JobSpec spec = SmallSpec();
  spec.set_recipe("best");
  job_ = *Job::Restore(AsStoredBefore(MakeJob("small-1", spec, now_).record()), now_);
  Run("inspect", InspectSuccess());
  EXPECT_FALSE(job_.FindTask("record"));
  EXPECT_FALSE(job_.FindTask("layerwise-000"));
  EXPECT_TRUE(job_.FindTask("finetune"));
}

TEST_F(JobTest, IsNotRestoredWithTasksThatAreNotItsOwn) {
  JobRecord record = job_.record();
  record.job.mutable_tasks(0)->set_name("jobs/small-1/tasks/unpack");
  EXPECT_EQ(Job::Restore(record, now_).status().code(), absl::StatusCode::kInternal);
}

TEST_F(JobTest, AssignsTheResultsOfTheSuccessfulAttempts) {
  Run("inspect", InspectSuccess());
  Start("calibrate");
  job_.Lose(Position("calibrate"), "lost", {}, now_);
  PassTime(kSecond);
  Run("calibrate");
  Start("align-001");
  const v1::TaskAssignment assignment = MakeAssignment(job_, Position("align-001"), std::chrono::seconds(60));
  EXPECT_THAT(assignment.inputs(), UnorderedElementsAre(Pair("inspect", "jobs/small-1/inspect/1/out"),
                                                        Pair("calibrate", "jobs/small-1/calibrate/2/out")));
  EXPECT_EQ(assignment.attempt().task(), "align-001");
  EXPECT_EQ(assignment.layer(), 1);
  EXPECT_EQ(assignment.arm().kv_heads(), 2);
  EXPECT_EQ(assignment.watchdog_s(), 60);
  EXPECT_EQ(assignment.task_seconds().at("inspect"), 1.0);
  EXPECT_EQ(assignment.elapsed_seconds().at("inspect"), 1.0);
  EXPECT_EQ(assignment.task_seconds().at("calibrate"), 1.0);
  // A second of pause and one between events lie between the two attempts.
  EXPECT_EQ(assignment.elapsed_seconds().at("calibrate"), 3.0);
}

TEST_F(JobTest, AssignsALayerwiseTaskItsBlockAndWhatItReads) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_layerwise()->set_method("distill");
  spec.mutable_layerwise()->set_layers_per_task(2);
  job_ = MakeJob("small-1", spec, now_);
  Run("inspect", InspectSuccess(SmallModel(3)));
  for (const char* task : {"calibrate", "align-000", "align-001", "align-002", "record"}) Run(task);
  Start("layerwise-002");
  EXPECT_EQ(job_.task(Position("layerwise-000")).layers(), 2);
  EXPECT_EQ(job_.task(Position("layerwise-002")).layer(), 2);
  EXPECT_EQ(job_.task(Position("layerwise-002")).layers(), 1);
  const v1::TaskAssignment assignment = MakeAssignment(job_, Position("layerwise-002"), kSecond);
  EXPECT_EQ(assignment.kind(), v1::TASK_KIND_LAYERWISE);
  EXPECT_EQ(assignment.layer(), 2);
  EXPECT_EQ(assignment.layers(), 1);
  EXPECT_EQ(assignment.arm().layerwise(), "distill");
  EXPECT_THAT(
      assignment.inputs(),
      IsSupersetOf({Pair("align/0", "jobs/small-1/align-000/1/out"), Pair("align/1", "jobs/small-1/align-001/1/out"),
                    Pair("align/2", "jobs/small-1/align-002/1/out"), Pair("record", "jobs/small-1/record/1/out")}));
  EXPECT_EQ(MakeAssignment(job_, Position("layerwise-000"), kSecond).layers(), 2);
}

TEST_F(JobTest, AssignsWhatFollowsTheResultsOfEachBlock) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_layerwise()->set_method("distill");
  job_ = MakeJob("small-1", spec, now_);
  RunUntilTraining();
  for (const char* task : {"record", "layerwise-000", "layerwise-001"}) Run(task);
  for (const char* task : {"finetune", "evaluate-layerwise"}) {
    Start(task);
    const v1::TaskAssignment assignment = MakeAssignment(job_, Position(task), kSecond);
    EXPECT_THAT(assignment.inputs(), IsSupersetOf({Pair("layerwise/0", "jobs/small-1/layerwise-000/1/out"),
                                                   Pair("layerwise/1", "jobs/small-1/layerwise-001/1/out")}))
        << task;
    EXPECT_EQ(assignment.layers(), 0) << task;
  }
}

TEST_F(JobTest, GivesASweepsReportTheResultsOfEachArm) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_sweep()->add_finetune("none");
  spec.mutable_sweep()->add_finetune("direct");
  job_ = MakeJob("sweep", spec, now_);
  Run("inspect", InspectSuccess(SmallModel(1)));
  while (Ready().front() != "report") Run(Ready().front());
  Start("report");
  const v1::TaskAssignment assignment = MakeAssignment(job_, Position("report"), kSecond);
  EXPECT_THAT(
      assignment.inputs(),
      UnorderedElementsAre(Pair("inspect", "jobs/sweep/inspect/1/out"), Pair("calibrate", "jobs/sweep/calibrate/1/out"),
                           Pair("0/align/0", "jobs/sweep/align-k2-procrustes-000/1/out"),
                           Pair("1/align/0", "jobs/sweep/align-k2-procrustes-000/1/out"),
                           Pair("1/finetune", "jobs/sweep/finetune-k2-procrustes-direct/1/out"),
                           Pair("evaluate/source", "jobs/sweep/evaluate-source/1/out"),
                           Pair("0/evaluate/result", "jobs/sweep/evaluate-k2-procrustes-none/1/out"),
                           Pair("1/evaluate/result", "jobs/sweep/evaluate-k2-procrustes-direct/1/out")));
  EXPECT_EQ(assignment.arms_size(), 2);
}

}  // namespace
}  // namespace regroup
