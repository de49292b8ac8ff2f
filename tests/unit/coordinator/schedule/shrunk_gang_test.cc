// Tests finetune.min_ranks: when training that has lost its worker goes on with fewer ranks, and with how many.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/schedule/cluster.h"
#include "tests/unit/coordinator/schedule/cluster_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr int kPatience_s = 300;

/// Trains with four ranks on w1, while w2 has three slots.
class ShrunkGangTest : public ClusterFixture {
 protected:
  void Train(int min_ranks) {
    w1_.slots = 4;
    w2_.slots = 3;
    for (FakeWorker* worker : {&w1_, &w2_}) cluster_.Register(worker->Registration(), now_);
    v1::JobSpec spec = SmallSpec();
    spec.clear_evaluation();
    spec.mutable_finetune()->set_ranks(4);
    spec.mutable_finetune()->set_batch_sequences(8);
    if (min_ranks > 0) spec.mutable_finetune()->set_min_ranks(min_ranks);
    Add("a", spec);
    std::optional<v1::TaskAssignment> assignment;
    while ((assignment = Ask(w1_)) && assignment->kind() != v1::TASK_KIND_FINETUNE) {
      const bool inspects = assignment->kind() == v1::TASK_KIND_INSPECT;
      ASSERT_TRUE(Report(w1_, assignment->attempt(), inspects ? InspectSuccess() : Success()).ok());
    }
    ASSERT_TRUE(assignment);
    ASSERT_EQ(assignment->ranks(), 4);
  }
  /// w1 is silent from now on.
  void Lose() {
    PassSeconds(11, {&w2_});
    ASSERT_EQ(Training().state(), v1::TASK_STATE_READY);
  }
  void PassSeconds(int seconds, const std::vector<FakeWorker*>& beating) {
    for (int second = 0; second < seconds; ++second) {
      now_ += kSecond;
      for (FakeWorker* worker : beating) ASSERT_TRUE(Beat(*worker).ok());
      PassTime(Duration(0));
    }
  }
  void Return() {
    w1_.running.clear();
    ++w1_.incarnation;
    cluster_.Register(w1_.Registration(), now_);
    Settle();
  }
  const v1::Task& Training() const {
    const Job& job = *cluster_.jobs().Find("a");
    return job.task(job.FindTask("finetune").value());
  }
  std::string Reason() const { return cluster_.WaitingReasonOf(*cluster_.jobs().Find("a"), now_); }
};

TEST_F(ShrunkGangTest, GoesOnWithTheMostRanksThatDivideTheBatch) {
  Train(/*min_ranks=*/1);
  Lose();
  PassSeconds(kPatience_s, {&w2_});
  const auto assignment = Ask(w2_);
  ASSERT_TRUE(assignment);
  // Three slots are free, but three ranks cannot share eight sequences.
  EXPECT_EQ(assignment->ranks(), 2);
  EXPECT_EQ(assignment->spec().finetune().ranks(), 2);
  EXPECT_EQ(Training().ranks(), 2);
  EXPECT_EQ(cluster_.Describe(*cluster_.workers().Find("w2"), now_).busy_slots(), 2);
  EXPECT_TRUE(Report(w2_, assignment->attempt()).ok());
  EXPECT_EQ(Training().state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(ShrunkGangTest, WaitsForAllOfItsRanksFirst) {
  Train(/*min_ranks=*/1);
  Lose();
  PassSeconds(kPatience_s - 12, {&w2_});
  EXPECT_FALSE(Ask(w2_));
  EXPECT_THAT(Reason(), HasSubstr("gang needs 4 slots; the largest worker has 3"));
  Return();
  const auto assignment = Ask(w1_);
  ASSERT_TRUE(assignment);
  EXPECT_EQ(assignment->ranks(), 4);
}

TEST_F(ShrunkGangTest, WaitsForAWorkerThatIsOnlyBusy) {
  Train(/*min_ranks=*/1);
  Lose();
  Return();
  v1::JobSpec urgent = SmallSpec();
  urgent.mutable_resources()->set_priority(5);
  Add("b", urgent);
  ASSERT_TRUE(Ask(w1_, 1)) << "the inspection of b keeps one of the four slots";
  PassSeconds(2 * kPatience_s, {&w1_, &w2_});
  EXPECT_FALSE(Ask(w2_));
  EXPECT_THAT(Reason(), HasSubstr("gang needs 4 slots; 3 are free"));
}

TEST_F(ShrunkGangTest, CountsTheTimeInWhichNoWorkersCouldHoldIt) {
  Train(/*min_ranks=*/1);
  Lose();
  Return();
  PassSeconds(2 * kPatience_s, {&w1_, &w2_});
  // Gone again, after a long wait of another kind.
  PassSeconds(kPatience_s - 30, {&w2_});
  EXPECT_FALSE(Ask(w2_));
  PassSeconds(60, {&w2_});
  EXPECT_TRUE(Ask(w2_));
}

TEST_F(ShrunkGangTest, ADrainedWorkerCountsAsGone) {
  Train(/*min_ranks=*/1);
  Lose();
  Return();
  ASSERT_TRUE(cluster_.SetDraining("w1", true).ok());
  PassSeconds(kPatience_s + 5, {&w1_, &w2_});
  EXPECT_TRUE(Ask(w2_));
}

TEST_F(ShrunkGangTest, MayShrinkAfterAnotherFailureAndAfterARetry) {
  Train(/*min_ranks=*/1);
  Lose();
  PassSeconds(kPatience_s, {&w2_});
  std::optional<v1::TaskAssignment> shrunk = Ask(w2_);
  ASSERT_TRUE(shrunk);
  EXPECT_TRUE(Report(w2_, shrunk->attempt(), FailureOf(v1::FAILURE_CLASS_INTERNAL)).ok());
  PassSeconds(kPatience_s + 5, {&w2_});
  shrunk = Ask(w2_);
  ASSERT_TRUE(shrunk) << "its last failure is not the loss of a machine, but it has lost one";
  EXPECT_TRUE(Report(w2_, shrunk->attempt(), FailureOf(v1::FAILURE_CLASS_INTERNAL)).ok());
  Job failed = Job::Restore(last_seen_.at("a"), now_).value();
  ASSERT_TRUE(failed.Retry(now_).ok());
  cluster_.AddJob(std::move(failed));
  PassSeconds(kPatience_s + 5, {&w2_});
  EXPECT_TRUE(Ask(w2_));
}

TEST_F(ShrunkGangTest, WaitsForMoreRanksIfFewerLackMemory) {
  Train(/*min_ranks=*/1);
  Lose();
  PassSeconds(kPatience_s, {&w2_});
  const auto shrunk = Ask(w2_);
  ASSERT_TRUE(shrunk);
  EXPECT_TRUE(Report(w2_, shrunk->attempt(), FailureOf(v1::FAILURE_CLASS_USER, "a rank needs 90 GiB")).ok());
  EXPECT_EQ(Training().state(), v1::TASK_STATE_READY);
  EXPECT_EQ(Training().too_few_ranks(), 2);
  PassSeconds(2 * kPatience_s, {&w2_});
  EXPECT_FALSE(Ask(w2_)) << "two ranks were too few";
  Return();
  PassSeconds(1, {&w1_, &w2_});
  const auto whole = Ask(w1_);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->ranks(), 4);
  EXPECT_TRUE(Report(w1_, whole->attempt(), FailureOf(v1::FAILURE_CLASS_USER)).ok());
  EXPECT_EQ(last_seen_.at("a").job.state(), v1::JOB_STATE_FAILED) << "with all ranks, the user has to act";
}

TEST_F(ShrunkGangTest, ARestartedCoordinatorWaitsAnew) {
  Train(/*min_ranks=*/1);
  Lose();
  PassSeconds(kPatience_s - 30, {&w2_});
  const v1::Worker worker = *cluster_.workers().Find("w2");
  cluster_ = Cluster(ClusterOptions{});
  ASSERT_TRUE(cluster_.RestoreJob(last_seen_.at("a"), now_).ok());
  cluster_.RestoreWorker(worker, now_);
  cluster_.Register(w2_.Registration(), now_);
  Settle();
  PassSeconds(60, {&w2_});
  EXPECT_FALSE(Ask(w2_));
  PassSeconds(kPatience_s, {&w2_});
  EXPECT_TRUE(Ask(w2_));
}

TEST_F(ShrunkGangTest, NeverHasFewerRanksThanAllowed) {
  Train(/*min_ranks=*/4);
  Lose();
  PassSeconds(1000, {&w2_});
  EXPECT_FALSE(Ask(w2_));
}

TEST_F(ShrunkGangTest, NeverShrinksUnlessTheJobAllowsIt) {
  Train(/*min_ranks=*/0);
  Lose();
  PassSeconds(1000, {&w2_});
  EXPECT_FALSE(Ask(w2_));
}

TEST_F(ShrunkGangTest, TakesAllOfItsRanksBackWhenItStartsAgain) {
  Train(/*min_ranks=*/1);
  Lose();
  PassSeconds(kPatience_s, {&w2_});
  const auto shrunk = Ask(w2_);
  ASSERT_TRUE(shrunk);
  Return();
  PassSeconds(5, {&w1_, &w2_});
  EXPECT_EQ(Training().ranks(), 2) << "a healthy attempt goes on";
  EXPECT_TRUE(Report(w2_, shrunk->attempt(), FailureOf(v1::FAILURE_CLASS_INFRA)).ok());
  PassSeconds(3, {&w1_, &w2_});
  const auto whole = Ask(w1_);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->ranks(), 4);
  EXPECT_EQ(whole->spec().finetune().ranks(), 4);
}

}  // namespace
}  // namespace regroup
