#include "coordinator/schedule/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/base/error.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/schedule/cluster_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ClusterTest : public ClusterFixture {
 protected:
  void Register(FakeWorker& worker) {
    registered_ = cluster_.Register(worker.Registration(), now_);
    Settle();
  }
  const v1::Job& Seen(const std::string& id) { return last_seen_.at(id).job; }
  /// Runs inspect so that the job has all its tasks.
  void Inspect(FakeWorker& worker, const v1::ModelSummary& model = SmallModel()) {
    const auto assignment = Ask(worker);
    ASSERT_TRUE(assignment && assignment->kind() == v1::TASK_KIND_INSPECT);
    ASSERT_TRUE(Report(worker, assignment->attempt(), InspectSuccess(model)).ok());
  }

  v1::RegisterWorkerResponse registered_;
};

TEST_F(ClusterTest, GivesAWaitingWorkerATaskAsSoonAsThereIsOne) {
  Register(w1_);
  EXPECT_FALSE(Ask(w1_));
  Add("a");
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].assignment->attempt().task(), "inspect");
  EXPECT_EQ(Seen("a").tasks(0).worker(), "workers/w1");
}

TEST_F(ClusterTest, EndsAWaitWithoutATaskWhenItsTimeIsUp) {
  Register(w1_);
  ASSERT_FALSE(Ask(w1_));
  for (int second = 0; second < 31; ++second) {
    ASSERT_TRUE(Beat(w1_).ok());
    now_ += kSecond;
  }
  PassTime(kSecond);
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_FALSE(answers_[0].assignment);
}

TEST_F(ClusterTest, TakesJobsOfHigherPriorityFirstAndOlderOnesBeforeNewer) {
  v1::JobSpec urgent = SmallSpec();
  urgent.mutable_resources()->set_priority(5);
  Add("z-first");
  PassTime(kSecond);
  Add("a-second");
  Add("urgent", urgent);
  w1_.slots = 3;
  Register(w1_);
  EXPECT_EQ(Ask(w1_)->attempt().job(), "urgent");
  EXPECT_EQ(Ask(w1_, 2)->attempt().job(), "z-first");
  EXPECT_EQ(Ask(w1_, 1)->attempt().job(), "a-second");
}

TEST_F(ClusterTest, SharesItsSlotsBetweenOwnersHoweverManyJobsTheyHave) {
  FakeWorker worker("w1", 4);
  Register(worker);
  v1::JobSpec urgent = SmallSpec();
  urgent.mutable_resources()->set_priority(100);
  for (const char* id : {"a1", "a2", "a3", "a4"}) Add(id, urgent, "alice");
  PassTime(kSecond);
  for (const char* id : {"b1", "b2"}) Add(id, SmallSpec(), "bob");
  std::vector<std::string> order;
  for (int free_slots = 4; free_slots > 0; --free_slots) order.push_back(Ask(worker, free_slots)->attempt().job());
  EXPECT_THAT(order, ::testing::ElementsAre("a1", "b1", "a2", "b2"));
}

TEST_F(ClusterTest, LosesTheAttemptsOfASilentWorkerAndGivesThemToAnother) {
  Add("a");
  Register(w1_);
  ASSERT_TRUE(Ask(w1_));
  PassTime(9 * kSecond);
  EXPECT_EQ(Seen("a").tasks(0).state(), v1::TASK_STATE_RUNNING);
  PassTime(kSecond);
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_RECOVERING);
  EXPECT_THAT(Seen("a").tasks(0).failure().message(), HasSubstr("worker w1 was silent for 10 s"));
  EXPECT_EQ(cluster_.Describe(*cluster_.workers().Find("w1"), now_).state(), v1::WORKER_STATE_LOST);

  PassTime(kSecond);
  Register(w2_);
  const auto again = Ask(w2_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->attempt().epoch(), 2);
}

TEST_F(ClusterTest, RefusesWhatAnOldEpochReports) {
  Add("a");
  Register(w1_);
  const v1::AttemptId old = Ask(w1_)->attempt();
  PassTime(10 * kSecond);
  EXPECT_EQ(ReasonOf(Report(w1_, old, InspectSuccess())), v1::STALE_EPOCH);
  PassTime(kSecond);
  Register(w2_);
  ASSERT_TRUE(Ask(w2_));
  EXPECT_EQ(ReasonOf(Report(w1_, old, InspectSuccess())), v1::STALE_EPOCH);
  EXPECT_EQ(ReasonOf(cluster_.Report(w1_.AskToPublish(old), now_)), v1::STALE_EPOCH);
  EXPECT_EQ(Seen("a").tasks(0).state(), v1::TASK_STATE_RUNNING);
}

TEST_F(ClusterTest, TellsAWorkerToStopWhatIsNoLongerItsOwn) {
  Add("a");
  Register(w1_);
  const v1::AttemptId old = Ask(w1_)->attempt();
  PassTime(10 * kSecond);
  Register(w1_);
  ASSERT_EQ(registered_.stop_size(), 1);
  EXPECT_EQ(registered_.stop(0).epoch(), old.epoch());
  EXPECT_EQ(Beat(w1_)->stop_size(), 1);
}

TEST_F(ClusterTest, KeepsAnAttemptAliveWhileItsWorkerListsIt) {
  Add("a");
  Register(w1_);
  ASSERT_TRUE(Ask(w1_));
  for (int beat = 0; beat < 20; ++beat) {
    PassTime(5 * kSecond);
    EXPECT_EQ(Beat(w1_)->stop_size(), 0);
  }
  EXPECT_EQ(Seen("a").tasks(0).state(), v1::TASK_STATE_RUNNING);
}

TEST_F(ClusterTest, LosesAnAttemptThatItsLivingWorkerNeverGot) {
  Add("a");
  Register(w1_);
  ASSERT_TRUE(Ask(w1_));
  w1_.running.clear();
  for (int beat = 0; beat < 10; ++beat) {
    ASSERT_TRUE(Beat(w1_).ok());
    PassTime(kSecond);
  }
  EXPECT_THAT(Seen("a").tasks(0).failure().message(), HasSubstr("no longer runs the attempt"));
}

TEST_F(ClusterTest, LosesTheAttemptsOfAWorkerProcessThatWasReplaced) {
  Add("a");
  Register(w1_);
  ASSERT_TRUE(Ask(w1_));
  w1_.incarnation = 2;
  w1_.running.clear();
  Register(w1_);
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_RECOVERING);
}

TEST_F(ClusterTest, AsksProcessesItDoesNotKnowToRegister) {
  EXPECT_EQ(ReasonOf(Beat(w1_).status()), v1::WORKER_NOT_REGISTERED);
  Register(w1_);
  w1_.incarnation = 7;
  EXPECT_EQ(ReasonOf(cluster_.Acquire(w1_.Acquire(1), 1, now_)), v1::WORKER_NOT_REGISTERED);
}

TEST_F(ClusterTest, TakesReportsOfTheRegisteredProcessOnly) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  FakeWorker stranger("w1");
  stranger.incarnation = 12345;
  EXPECT_EQ(ReasonOf(cluster_.Report(stranger.Report(attempt, InspectSuccess()), now_)), v1::WORKER_NOT_REGISTERED);
  EXPECT_EQ(ReasonOf(cluster_.Report(stranger.AskToPublish(attempt), now_)), v1::WORKER_NOT_REGISTERED);
  EXPECT_EQ(cluster_.jobs().Find("a")->task(0).state(), v1::TASK_STATE_RUNNING);
  EXPECT_TRUE(Report(w1_, attempt, InspectSuccess()).ok());
  // A repetition is answered to the process that ran the attempt, and to no other worker.
  EXPECT_TRUE(cluster_.Report(w1_.Report(attempt, InspectSuccess()), now_).ok());
  Register(w2_);
  EXPECT_EQ(ReasonOf(cluster_.Report(w2_.Report(attempt, InspectSuccess()), now_)), v1::STALE_EPOCH);
}

TEST_F(ClusterTest, KeepsProgressOfTheAttemptsOwnWorkerOnly) {
  Add("a");
  Register(w1_);
  Register(w2_);
  v1::AttemptReport report;
  *report.mutable_attempt() = Ask(w1_)->attempt();
  report.mutable_progress()->set_phase("read");
  cluster_.NoteProgress("w2", report);
  EXPECT_EQ(cluster_.ProgressOf(*cluster_.jobs().Find("a"), 0), nullptr);
  cluster_.NoteProgress("w1", report);
  EXPECT_NE(cluster_.ProgressOf(*cluster_.jobs().Find("a"), 0), nullptr);
}

TEST_F(ClusterTest, RemembersWhatAProcessHasRunAndForgetsItWithTheProcess) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  EXPECT_FALSE(cluster_.HasRun("w1", attempt)) << "it may never have got the answer";
  ASSERT_TRUE(Beat(w1_).ok());
  EXPECT_TRUE(cluster_.HasRun("w1", attempt));
  EXPECT_FALSE(cluster_.HasRun("w2", attempt));
  Register(w1_);
  EXPECT_TRUE(cluster_.HasRun("w1", attempt));
  w1_.incarnation = 2;
  w1_.running.clear();
  Register(w1_);
  EXPECT_FALSE(cluster_.HasRun("w1", attempt));
}

TEST_F(ClusterTest, HandlesALongListOfAttemptsInLinearTime) {
  Add("a");
  Register(w1_);
  ASSERT_TRUE(Ask(w1_));
  for (int i = 0; i < 40000; ++i) {
    v1::AttemptId attempt;
    attempt.set_job("b");
    attempt.set_task(std::to_string(i));
    w1_.running.push_back(attempt);
  }
  const auto start = std::chrono::steady_clock::now();
  const auto response = Beat(w1_);
  // A second would do; comparing each with each takes many.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->stop_size(), 40000);
  EXPECT_EQ(cluster_.jobs().Find("a")->task(0).state(), v1::TASK_STATE_RUNNING);
}

TEST_F(ClusterTest, AcceptsARepeatedOutcomeWithoutApplyingItAgain) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  ASSERT_TRUE(Report(w1_, attempt, InspectSuccess()).ok());
  const int64_t revision = Seen("a").revision();
  EXPECT_TRUE(Report(w1_, attempt, InspectSuccess(SmallModel(5))).ok());
  EXPECT_EQ(Seen("a").revision(), revision);
  EXPECT_EQ(Seen("a").model().layers(), 2);
}

TEST_F(ClusterTest, StopsTheTasksOfACancelledJobAndWaitsUntilTheyAreGone) {
  Add("a");
  Register(w1_);
  ASSERT_TRUE(Ask(w1_));
  ASSERT_TRUE(Beat(w1_).ok());
  ASSERT_TRUE(cluster_.CancelJob("a", now_).ok());
  Settle();
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_CANCELLING);
  EXPECT_EQ(Beat(w1_)->stop_size(), 1);
  PassTime(kSecond);
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_CANCELLING);
  w1_.running.clear();
  ASSERT_TRUE(Beat(w1_).ok());
  PassTime(kSecond);
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(cluster_.jobs().Find("a"), nullptr);
}

TEST_F(ClusterTest, RunsAGangOnceItsWorkerIsEmptyAlthoughSmallTasksWait) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_calibration()->set_ranks(2);
  w1_.slots = 2;
  Register(w1_);
  Add("a", spec);
  Inspect(w1_);
  Add("b");
  const auto calibrate = Ask(w1_);
  EXPECT_EQ(calibrate->kind(), v1::TASK_KIND_CALIBRATE);
  EXPECT_EQ(calibrate->ranks(), 2);
}

TEST_F(ClusterTest, SaysWhyAJobWaits) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_calibration()->set_ranks(4);
  spec.clear_evaluation();
  Add("a", spec);
  EXPECT_EQ(cluster_.Describe(*cluster_.jobs().Find("a"), now_).waiting_reason(), "no worker is connected");
  Register(w1_);
  Inspect(w1_);
  EXPECT_EQ(cluster_.Describe(*cluster_.jobs().Find("a"), now_).waiting_reason(),
            "gang needs 4 slots; the largest worker has 1");
}

TEST_F(ClusterTest, GivesNothingToADrainingWorkerButLetsItFinish) {
  Add("a");
  Register(w1_);
  const auto inspect = Ask(w1_);
  ASSERT_TRUE(cluster_.SetDraining("w1", true).ok());
  Settle();
  EXPECT_TRUE(Beat(w1_)->draining());
  ASSERT_TRUE(Report(w1_, inspect->attempt(), InspectSuccess()).ok());
  EXPECT_FALSE(Ask(w1_));
  ASSERT_TRUE(cluster_.SetDraining("w1", false).ok());
  Settle();
  EXPECT_EQ(answers_.size(), 1u);
}

TEST_F(ClusterTest, ShowsProgressAndKeepsTheLastLogLinesForAFailure) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  v1::AttemptReport report;
  *report.mutable_attempt() = attempt;
  report.mutable_progress()->set_phase("tensors");
  report.mutable_progress()->set_done(7);
  for (int line = 0; line < 30; ++line) report.add_logs()->set_message("line " + std::to_string(line));
  cluster_.NoteProgress("w1", report);
  EXPECT_EQ(cluster_.Describe(*cluster_.jobs().Find("a"), now_).tasks(0).progress().done(), 7);
  ASSERT_TRUE(Report(w1_, attempt, FailureOf(v1::FAILURE_CLASS_DATA)).ok());
  ASSERT_EQ(Seen("a").failure().log_tail_size(), 20);
  EXPECT_EQ(Seen("a").failure().log_tail(19), "line 29");
}

TEST_F(ClusterTest, MayPublishOnlyWhileTheAttemptIsCurrentAndTheJobWanted) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  ASSERT_TRUE(cluster_.Report(w1_.AskToPublish(attempt), now_).ok());
  Settle();
  EXPECT_TRUE(last_seen_.at("a").publication_granted);
  EXPECT_EQ(ReasonOf(cluster_.CancelJob("a", now_)), v1::WRONG_STATE);
}

TEST_F(ClusterTest, RefusesPublicationOfACancelledJob) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  ASSERT_TRUE(cluster_.CancelJob("a", now_).ok());
  Settle();
  EXPECT_EQ(ReasonOf(cluster_.Report(w1_.AskToPublish(attempt), now_)), v1::STALE_EPOCH);
}

TEST_F(ClusterTest, IsAsBeforeAfterARollback) {
  Register(w1_);
  Add("a");
  const int64_t revision = Seen("a").revision();
  ASSERT_TRUE(cluster_.CancelJob("a", now_).ok());
  cluster_.AddJob(MakeJob("b"));
  EXPECT_TRUE(cluster_.TakeEffects().NotStored().empty());
  EXPECT_EQ(cluster_.jobs().size(), 1u);
  EXPECT_EQ(cluster_.jobs().Find("a")->proto().state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(cluster_.jobs().Find("a")->proto().revision(), revision);
  EXPECT_TRUE(cluster_.TakeEffects().empty());
}

TEST_F(ClusterTest, DoesNotCountARefusedChangeAsOne) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  ASSERT_TRUE(cluster_.Report(w1_.AskToPublish(attempt), now_).ok());
  Settle();
  const int64_t revision = Seen("a").revision();
  ASSERT_FALSE(cluster_.CancelJob("a", now_).ok());
  EXPECT_TRUE(cluster_.TakeEffects().empty());
  EXPECT_EQ(cluster_.jobs().Find("a")->proto().revision(), revision);
}

// This is a coordinator that restarts with its stored jobs.

TEST_F(ClusterTest, KeepsRunningAttemptsForALeaseAfterARestart) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Cluster restarted{ClusterOptions{}};
  ASSERT_TRUE(restarted.RestoreJob(last_seen_.at("a"), now_).ok());
  restarted.RestoreWorker(*cluster_.workers().Find("w1"), now_);
  cluster_ = std::move(restarted);

  PassTime(9 * kSecond);
  EXPECT_EQ(ReasonOf(Beat(w1_).status()), v1::WORKER_NOT_REGISTERED);
  Register(w1_);
  EXPECT_EQ(registered_.stop_size(), 0);
  PassTime(9 * kSecond);
  EXPECT_TRUE(Report(w1_, attempt, InspectSuccess()).ok());
  EXPECT_EQ(Seen("a").tasks(0).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(Seen("a").tasks(0).epoch(), 1);
}

TEST_F(ClusterTest, LosesAttemptsThatNobodyListsWithinALeaseOfARestart) {
  Add("a");
  Register(w1_);
  ASSERT_TRUE(Ask(w1_));
  Cluster restarted{ClusterOptions{}};
  ASSERT_TRUE(restarted.RestoreJob(last_seen_.at("a"), now_).ok());
  cluster_ = std::move(restarted);
  PassTime(10 * kSecond);
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_RECOVERING);
}

TEST_F(ClusterTest, TakesAResultThatCameToItsEndWhileTheCoordinatorWasAway) {
  Add("a");
  Register(w1_);
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Cluster restarted{ClusterOptions{}};
  ASSERT_TRUE(restarted.RestoreJob(last_seen_.at("a"), now_).ok());
  cluster_ = std::move(restarted);
  w1_.running.clear();
  Register(w1_);
  EXPECT_TRUE(Report(w1_, attempt, InspectSuccess()).ok());
  EXPECT_EQ(Seen("a").tasks(0).state(), v1::TASK_STATE_SUCCEEDED);
}

}  // namespace
}  // namespace regroup
