// Tests the pause of one job: which tasks are kept, what counts as a failure, and which times are left out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/job/assignment.h"
#include "coordinator/job/job.h"
#include "services/common/base/error.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/job/job_fixture.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PauseTest : public JobFixture {
 protected:
  PauseTest() : JobFixture(Duration::zero()) {}
  static v1::TaskOutcome Paused() {
    v1::TaskOutcome outcome;
    outcome.set_paused(true);
    return outcome;
  }
};

TEST_F(PauseTest, OfAQueuedJobEndsInTheQueue) {
  ASSERT_TRUE(job_.Pause(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_PAUSED);
  EXPECT_THAT(Ready(), IsEmpty());
  ASSERT_TRUE(job_.Pause(now_).ok()) << "once more changes nothing";
  ASSERT_TRUE(job_.Resume(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_QUEUED);
  EXPECT_THAT(Ready(), ElementsAre("inspect"));
}

TEST_F(PauseTest, KeepsFinishedTasksAndStartsTheOthersAgain) {
  RunUntilTraining();
  for (const char* task : {"finetune", "evaluate-source", "evaluate-averaged"}) Start(task);
  ASSERT_TRUE(job_.Pause(now_).ok());
  Finish("evaluate-averaged");
  Finish("evaluate-source", Paused());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_PAUSING);
  Finish("finetune", Paused());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_PAUSED);
  ASSERT_TRUE(job_.Resume(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RUNNING);
  now_ += kShortestPause;
  EXPECT_EQ(State("evaluate-averaged"), v1::TASK_STATE_SUCCEEDED);
  EXPECT_THAT(Ready(), ElementsAre("finetune", "evaluate-source", "evaluate-aligned"));
  EXPECT_EQ(job_.task(Position("finetune")).infrastructure_failures(), 0);
}

TEST_F(PauseTest, CostsNoRestartHoweverOften) {
  RunUntilTraining();
  for (int pause = 0; pause < 3 * kRestartsWithoutProgress; ++pause) {
    Start("finetune");
    ASSERT_TRUE(job_.Pause(now_).ok());
    // What is lost while the job pauses is started again like what stopped by itself.
    Finish("finetune", pause % 2 == 0 ? Paused() : FailureOf(v1::FAILURE_CLASS_INFRA));
    ASSERT_EQ(job_.proto().state(), v1::JOB_STATE_PAUSED);
    ASSERT_TRUE(job_.Resume(now_).ok());
  }
  const RetryState& retry = job_.record().retries[Position("finetune")];
  EXPECT_EQ(retry.restarts_without_progress, 0);
  EXPECT_EQ(retry.internal_failures, 0);
}

TEST_F(PauseTest, LeavesNoFailureOfAnEarlierAttempt) {
  RunUntilTraining();
  Start("finetune");
  Finish("finetune", FailureOf(v1::FAILURE_CLASS_INFRA));
  now_ += std::chrono::minutes(1);
  Start("finetune");
  ASSERT_TRUE(job_.Pause(now_).ok());
  Finish("finetune", Paused());
  ASSERT_TRUE(job_.Resume(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RUNNING) << "nothing was lost since";
  EXPECT_FALSE(job_.task(Position("finetune")).has_failure());
  EXPECT_EQ(job_.task(Position("finetune")).infrastructure_failures(), 1);
}

TEST_F(PauseTest, IsLeftOutOfAllTimesHoweverItEnds) {
  RunUntilTraining();
  Start("finetune");
  const Time first_start = FromProto(job_.task(Position("finetune")).first_start_time());
  ASSERT_TRUE(job_.Pause(now_).ok());
  Finish("finetune", Paused());
  now_ += std::chrono::hours(48);
  ASSERT_TRUE(job_.Cancel(now_).ok());
  ASSERT_TRUE(job_.Retry(now_).ok());
  EXPECT_EQ(FromProto(job_.task(Position("finetune")).first_start_time()) - first_start, std::chrono::hours(48));
}

TEST_F(PauseTest, DoesNotHideAFailureThatIsNoLoss) {
  RunUntilTraining();
  for (const char* task : {"finetune", "evaluate-source"}) Start(task);
  ASSERT_TRUE(job_.Pause(now_).ok());
  Finish("finetune", FailureOf(v1::FAILURE_CLASS_DATA, "a file is damaged"));
  EXPECT_TRUE(job_.IsWindingDown());
  Finish("evaluate-source", Paused());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(job_.proto().failure().message(), HasSubstr("a file is damaged"));
  EXPECT_EQ(ReasonOf(job_.Resume(now_)), v1::WRONG_STATE);
  EXPECT_TRUE(job_.Retry(now_).ok());
}

TEST_F(PauseTest, MayBeTakenBackBeforeTheLastTaskHasStopped) {
  RunUntilTraining();
  Start("finetune");
  ASSERT_TRUE(job_.Pause(now_).ok());
  ASSERT_TRUE(job_.Resume(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_RUNNING);
  Finish("finetune", Paused());
  EXPECT_EQ(State("finetune"), v1::TASK_STATE_READY);
  EXPECT_EQ(job_.task(Position("finetune")).infrastructure_failures(), 0);
}

TEST_F(PauseTest, IsRejectedAtTheEndOfAJob) {
  ASSERT_TRUE(job_.Cancel(now_).ok());
  EXPECT_EQ(ReasonOf(job_.Pause(now_)), v1::WRONG_STATE);
  EXPECT_EQ(ReasonOf(job_.Resume(now_)), v1::WRONG_STATE);
  job_ = MakeJob("failing", SmallSpec(), now_);
  RunUntilTraining();
  for (const char* task : {"finetune", "evaluate-source"}) Start(task);
  Finish("finetune", FailureOf(v1::FAILURE_CLASS_USER));
  EXPECT_THAT(std::string(job_.Pause(now_).message()), HasSubstr("failing"));
  job_ = MakeJob("published", SmallSpec(), now_);
  Start("inspect");
  job_.GrantPublication();
  EXPECT_EQ(ReasonOf(job_.Pause(now_)), v1::WRONG_STATE);
  EXPECT_EQ(ReasonOf(job_.Resume(now_)), v1::WRONG_STATE);
}

TEST_F(PauseTest, IsNotRetriedButCancelled) {
  Start("inspect");
  ASSERT_TRUE(job_.Pause(now_).ok());
  EXPECT_EQ(ReasonOf(job_.Retry(now_)), v1::WRONG_STATE);
  ASSERT_TRUE(job_.Cancel(now_).ok());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_CANCELLING);
  Finish("inspect", Paused());
  EXPECT_EQ(job_.proto().state(), v1::JOB_STATE_CANCELLED);
  ASSERT_TRUE(job_.Retry(now_).ok());
  EXPECT_THAT(Ready(), ElementsAre("inspect")) << "the pause ended with the cancellation";
}

TEST_F(PauseTest, IsLeftOutOfTheTimeThatAJobMayRun) {
  Start("inspect");
  now_ += std::chrono::hours(23);
  ASSERT_TRUE(job_.Pause(now_).ok());
  now_ += std::chrono::hours(48);
  EXPECT_FALSE(job_.FailIfOverdue(now_));
  Finish("inspect", Paused());
  ASSERT_TRUE(job_.Resume(now_).ok());
  now_ += std::chrono::hours(1);
  EXPECT_FALSE(job_.FailIfOverdue(now_));
  now_ += std::chrono::seconds(1);
  EXPECT_TRUE(job_.FailIfOverdue(now_));
}

TEST_F(PauseTest, IsLeftOutOfTheTimeThatATaskTook) {
  Run("inspect", InspectSuccess());
  Start("calibrate");
  now_ += 10 * std::chrono::seconds(1);
  ASSERT_TRUE(job_.Pause(now_).ok());
  Finish("calibrate", Paused());
  now_ += std::chrono::hours(1);
  const Job paused = job_;
  ASSERT_TRUE(job_.Resume(now_).ok());
  EXPECT_THAT(job_.TasksChangedSince(paused), ElementsAre(Position("calibrate"))) << "the store learns of it";
  Start("calibrate");
  now_ += 5 * std::chrono::seconds(1);
  Finish("calibrate");
  EXPECT_EQ(MakeAssignment(job_, Position("align-000"), {}).elapsed_seconds().at("calibrate"), 15.0);
}

TEST_F(PauseTest, MovesWithTheClock) {
  ASSERT_TRUE(job_.Pause(now_).ok());
  JobRecord record = job_.record();
  record.MoveToClock(5 * std::chrono::seconds(1));
  EXPECT_EQ(record.pause_start, now_ + 5 * std::chrono::seconds(1));
}

}  // namespace
}  // namespace regroup
