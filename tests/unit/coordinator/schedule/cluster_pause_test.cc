// Tests how the cluster pauses and resumes jobs: what it tells workers, when slots are free again, and what a restart
// of the coordinator keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/base/error.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/schedule/cluster_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

class ClusterPauseTest : public ClusterFixture {
 protected:
  void Register(FakeWorker& worker) {
    (void)cluster_.Register(worker.Registration(), now_);
    Settle();
  }
  const v1::Job& Seen(const std::string& id) { return last_seen_.at(id).job; }
  void Pause(const std::string& id) {
    ASSERT_TRUE(cluster_.PauseJob(id, now_).ok());
    Settle();
  }
  void Resume(const std::string& id) {
    ASSERT_TRUE(cluster_.ResumeJob(id, now_).ok());
    Settle();
  }
  /// Returns the ids of the tasks in a list of attempts.
  static std::vector<std::string> TasksOf(const google::protobuf::RepeatedPtrField<v1::AttemptId>& attempts) {
    std::vector<std::string> tasks;
    for (const v1::AttemptId& attempt : attempts) tasks.push_back(attempt.task());
    return tasks;
  }
  /// Keeps the worker alive for this long.
  void BeatFor(FakeWorker& worker, Duration time) {
    for (const Time end = now_ + time; now_ < end;) {
      PassTime(kSecond);
      ASSERT_TRUE(Beat(worker).ok());
    }
  }
  static v1::TaskOutcome Paused() {
    v1::TaskOutcome outcome;
    outcome.set_paused(true);
    return outcome;
  }
};

TEST_F(ClusterPauseTest, TellsTheWorkerAndFreesItsSlotForOthersOnceTheAttemptHasEnded) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  ASSERT_TRUE(Beat(w1_).ok());
  Pause("a");
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_PAUSING);
  const auto told = Beat(w1_);
  EXPECT_THAT(TasksOf(told->pause()), ::testing::ElementsAre("inspect"));
  EXPECT_THAT(TasksOf(told->stop()), ::testing::IsEmpty());

  ASSERT_TRUE(Report(w1_, attempt, Paused()).ok());
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(cluster_.WaitingReasonOf(*cluster_.jobs().Find("a"), now_), "paused until it is resumed");
  EXPECT_FALSE(Ask(w1_)) << "a paused job starts nothing";
  Add("b");
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].assignment->attempt().job(), "b");
}

TEST_F(ClusterPauseTest, StartsTheTaskAgainWhenTheJobIsResumed) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Pause("a");
  ASSERT_TRUE(Report(w1_, attempt, Paused()).ok());
  ASSERT_FALSE(Ask(w1_));
  PassTime(kSecond);
  Resume("a");
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].assignment->attempt().epoch(), 2);
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Seen("a").tasks(0).infrastructure_failures(), 0);
}

TEST_F(ClusterPauseTest, StopsWhatStillRunsAfterTheLimit) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Pause("a");
  BeatFor(w1_, cluster_.options().pause_limit - kSecond);
  EXPECT_THAT(TasksOf(Beat(w1_)->pause()), ::testing::ElementsAre("inspect"));
  BeatFor(w1_, kSecond);
  const auto told = Beat(w1_);
  EXPECT_THAT(TasksOf(told->pause()), ::testing::IsEmpty());
  EXPECT_THAT(TasksOf(told->stop()), ::testing::ElementsAre("inspect"));
  ASSERT_TRUE(Report(w1_, attempt, FailureOf(v1::FAILURE_CLASS_INFRA, "stopped")).ok());
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(Seen("a").tasks(0).infrastructure_failures(), 0) << "a pause costs no restart";
}

TEST_F(ClusterPauseTest, IsPausedWhenTheWorkerNoLongerListsTheAttempt) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  ASSERT_TRUE(Beat(w1_).ok());
  Pause("a");
  // Its report was lost.
  LetGo(w1_, attempt);
  ASSERT_TRUE(Beat(w1_).ok());
  PassTime(kSecond);
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_PAUSED);
}

TEST_F(ClusterPauseTest, GivesNoPermissionToPublishWhileItPauses) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Pause("a");
  EXPECT_EQ(ReasonOf(cluster_.Report(w1_.AskToPublish(attempt), now_)), v1::STALE_EPOCH);
  EXPECT_FALSE(last_seen_.at("a").publication_granted);
}

TEST_F(ClusterPauseTest, IsNotPausedOnceItMayHavePublished) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  ASSERT_TRUE(cluster_.Report(w1_.AskToPublish(attempt), now_).ok());
  const absl::Status status = cluster_.PauseJob("a", now_);
  EXPECT_EQ(ReasonOf(status), v1::WRONG_STATE);
  EXPECT_THAT(std::string(status.message()), HasSubstr("publishing"));
}

TEST_F(ClusterPauseTest, IsStillPausingAndPausedAfterARestartOfTheCoordinator) {
  Register(w1_);
  Add("running");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Add("waiting");
  Pause("running");
  Pause("waiting");
  EXPECT_EQ(Seen("waiting").state(), v1::JOB_STATE_PAUSED);
  cluster_ = Cluster(ClusterOptions{});
  for (const auto& [id, record] : last_seen_) ASSERT_TRUE(cluster_.RestoreJob(record, now_).ok());
  Register(w1_);
  EXPECT_THAT(TasksOf(Beat(w1_)->pause()), ::testing::ElementsAre("inspect"));
  ASSERT_TRUE(Report(w1_, attempt, Paused()).ok());
  EXPECT_EQ(Seen("running").state(), v1::JOB_STATE_PAUSED);
  EXPECT_FALSE(Ask(w1_));
  Resume("waiting");
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].assignment->attempt().job(), "waiting");
}

TEST_F(ClusterPauseTest, DoesNotStartATaskBesideItsOldProcessAfterARestartAndAResume) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Pause("a");
  ASSERT_TRUE(cluster_.Report(w1_.Report(attempt, Paused()), now_).ok());
  Settle();
  // The worker has not yet heard that its report arrived.
  cluster_ = Cluster(ClusterOptions{});
  ASSERT_TRUE(cluster_.RestoreJob(last_seen_.at("a"), now_).ok());
  Register(w1_);
  Register(w2_);
  Resume("a");
  PassTime(kSecond);
  EXPECT_FALSE(Ask(w2_));
  LetGo(w1_, attempt);
  ASSERT_TRUE(Beat(w1_).ok());
  EXPECT_EQ(answers_.size(), 1u);
}

TEST_F(ClusterPauseTest, CancelsAPausedJob) {
  Register(w1_);
  Add("a");
  const v1::AttemptId attempt = Ask(w1_)->attempt();
  Pause("a");
  ASSERT_TRUE(cluster_.CancelJob("a", now_).ok());
  Settle();
  EXPECT_THAT(TasksOf(Beat(w1_)->stop()), ::testing::ElementsAre("inspect"));
  ASSERT_TRUE(Report(w1_, attempt, Paused()).ok());
  EXPECT_EQ(Seen("a").state(), v1::JOB_STATE_CANCELLED);
  Add("b");
  Pause("b");
  ASSERT_TRUE(cluster_.CancelJob("b", now_).ok());
  Settle();
  EXPECT_EQ(Seen("b").state(), v1::JOB_STATE_CANCELLED);
}

}  // namespace
}  // namespace regroup
