// Tests gangs on several workers: who gets which message, whose missing heartbeats count, and when a gang may restart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/schedule/cluster.h"
#include "services/common/base/error.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Duration kSecond = std::chrono::seconds(1);

/// Two workers of two slots, and a job whose calibration is a gang of four.
class ClusterGangTest : public ::testing::Test {
 protected:
  void SetUp() override { SetUpJob(); }
  void SetUpJob() {
    for (FakeWorker* worker : {&w1_, &w2_}) worker->running.clear();
    for (FakeWorker* worker : {&w1_, &w2_}) {
      worker->gang_address = worker->id + ":7448";
      cluster_.Register(worker->Registration(), now_);
    }
    v1::JobSpec spec = SmallSpec();
    spec.mutable_calibration()->set_ranks(4);
    spec.clear_evaluation();
    cluster_.AddJob(MakeJob("a", spec, now_));
    Settle();
    Ask(w1_);
    ASSERT_THAT(w1_.running, SizeIs(1));
    EXPECT_TRUE(Report(w1_, w1_.running[0], InspectSuccess()).ok());
  }

  /// Lets both workers ask; returns the assignments that they get.
  std::vector<v1::TaskAssignment> StartGang() {
    Ask(w2_);
    Ask(w1_);
    return assignments_;
  }
  void Ask(FakeWorker& worker) {
    ASSERT_TRUE(cluster_.Acquire(worker.Acquire(worker.slots), ++ticket_, now_).ok());
    asking_[ticket_] = &worker;
    Settle();
  }
  absl::Status Report(FakeWorker& worker, v1::AttemptId attempt, const v1::TaskOutcome& outcome = Success()) {
    worker.running.clear();
    absl::Status status = cluster_.Report(worker.Report(attempt, outcome), now_);
    Settle();
    return status;
  }
  v1::HeartbeatResponse Beat(const FakeWorker& worker) {
    v1::HeartbeatResponse response = cluster_.Heartbeat(worker.Heartbeat(), now_).value();
    Settle();
    return response;
  }
  void PassSeconds(int seconds, std::vector<FakeWorker*> beating) {
    for (int second = 0; second < seconds; ++second) {
      now_ += kSecond;
      for (FakeWorker* worker : beating) Beat(*worker);
      cluster_.Tick(now_);
      Settle();
    }
  }
  void Settle() {
    cluster_.PlaceTasks(now_);
    assignments_.clear();
    for (Answer& answer : cluster_.TakeEffects().Stored()) {
      if (!answer.assignment) continue;
      asking_[answer.ticket]->running.push_back(answer.assignment->attempt());
      assignments_.push_back(*std::move(answer.assignment));
    }
  }
  const v1::Task& Gang() const { return cluster_.jobs().Find("a")->task(1); }

  Time now_{std::chrono::seconds(5000)};
  Cluster cluster_{ClusterOptions{.gang_secret = "secret"}};
  uint64_t ticket_ = 0;
  std::map<uint64_t, FakeWorker*> asking_;
  std::vector<v1::TaskAssignment> assignments_;
  FakeWorker w1_{"w1", 2};
  FakeWorker w2_{"w2", 2};
};

TEST_F(ClusterGangTest, StartsOnAllItsWorkersAtOnceAndTellsEachItsPart) {
  Ask(w2_);
  EXPECT_THAT(assignments_, IsEmpty());
  Ask(w1_);
  ASSERT_THAT(assignments_, SizeIs(2));
  const v1::Gang& lead = assignments_[0].gang();
  const v1::Gang& helper = assignments_[1].gang();
  ASSERT_THAT(lead.members(), SizeIs(2));
  EXPECT_EQ(lead.members(0).worker(), "w1");
  EXPECT_EQ(lead.members(1).address(), "w2:7448");
  EXPECT_EQ(lead.members(1).ranks(), 2);
  EXPECT_EQ(lead.member(), 0);
  EXPECT_EQ(helper.member(), 1);
  EXPECT_EQ(lead.token(), helper.token());
  EXPECT_THAT(lead.token(), SizeIs(64));
  EXPECT_EQ(Gang().worker(), "workers/w1");
  EXPECT_EQ(Gang().shares(1).worker(), "workers/w2");
}

TEST_F(ClusterGangTest, NeverStartsWithoutASecret) {
  cluster_ = Cluster(ClusterOptions{});
  ASSERT_NO_FATAL_FAILURE(SetUpJob());
  EXPECT_THAT(StartGang(), IsEmpty());
  EXPECT_THAT(cluster_.WaitingReasonOf(*cluster_.jobs().Find("a"), now_), HasSubstr("4"));
}

TEST_F(ClusterGangTest, EveryAttemptHasAnotherToken) {
  const std::string first = StartGang().at(0).gang().token();
  EXPECT_TRUE(Report(w1_, w1_.running[0], FailureOf(v1::FAILURE_CLASS_INFRA)).ok());
  w2_.running.clear();
  PassSeconds(2, {&w1_, &w2_});
  const std::vector<v1::TaskAssignment> again = StartGang();
  ASSERT_THAT(again, SizeIs(2));
  EXPECT_NE(again[0].gang().token(), first);
}

TEST_F(ClusterGangTest, TakesTheSlotsOfAllItsWorkersAndGivesThemBack) {
  StartGang();
  for (const auto& [id, worker] : cluster_.workers()) EXPECT_EQ(cluster_.Describe(worker, now_).busy_slots(), 2) << id;
  EXPECT_TRUE(Report(w1_, w1_.running[0]).ok());
  for (const auto& [id, worker] : cluster_.workers()) EXPECT_EQ(cluster_.Describe(worker, now_).busy_slots(), 0) << id;
  // The helper still lists the attempt, and gets an order to stop it.
  EXPECT_THAT(Beat(w2_).stop(), SizeIs(1));
}

TEST_F(ClusterGangTest, IsLostWithItsHelper) {
  StartGang();
  PassSeconds(11, {&w1_});
  EXPECT_EQ(Gang().state(), v1::TASK_STATE_READY);
  EXPECT_THAT(Gang().failure().message(), HasSubstr("worker w2 was silent"));
  EXPECT_THAT(Beat(w1_).stop(), SizeIs(1));
}

TEST_F(ClusterGangTest, IsLostWithItsLead) {
  StartGang();
  PassSeconds(11, {&w2_});
  EXPECT_THAT(Gang().failure().message(), HasSubstr("worker w1 was silent"));
  EXPECT_THAT(Beat(w2_).stop(), SizeIs(1));
}

TEST_F(ClusterGangTest, IsLostWhenItsHelperRestarts) {
  StartGang();
  w2_.running.clear();
  ++w2_.incarnation;
  cluster_.Register(w2_.Registration(), now_);
  Settle();
  EXPECT_THAT(Gang().failure().message(), HasSubstr("worker w2 restarted"));
}

TEST_F(ClusterGangTest, AHelperMayEndItsPartBeforeTheLeadTellsTheOutcome) {
  const v1::AttemptId attempt = StartGang().at(0).attempt();
  EXPECT_TRUE(Report(w2_, attempt).ok());
  EXPECT_EQ(Gang().state(), v1::TASK_STATE_RUNNING);
  PassSeconds(15, {&w1_, &w2_});
  EXPECT_EQ(Gang().state(), v1::TASK_STATE_RUNNING);
  EXPECT_TRUE(Report(w1_, attempt).ok());
  EXPECT_EQ(Gang().state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(ClusterGangTest, AHelperDoesNotDecideTheOutcome) {
  const v1::AttemptId attempt = StartGang().at(0).attempt();
  EXPECT_TRUE(Report(w2_, attempt, FailureOf(v1::FAILURE_CLASS_USER)).ok());
  EXPECT_EQ(Gang().state(), v1::TASK_STATE_RUNNING);
}

TEST_F(ClusterGangTest, StartsAgainOnlyWhenNoWorkerCanStillRunTheOldAttempt) {
  StartGang();
  // The helper loses its connection; the lead notices first.
  EXPECT_TRUE(Report(w1_, w1_.running[0], FailureOf(v1::FAILURE_CLASS_INFRA)).ok());
  FakeWorker w3("w3", 2);
  w3.gang_address = "w3:7448";
  cluster_.Register(w3.Registration(), now_);
  PassSeconds(5, {&w1_, &w3});
  Ask(w1_);
  Ask(w3);
  EXPECT_THAT(assignments_, IsEmpty()) << "w2 may still run the first attempt";
  PassSeconds(5, {&w1_, &w3});
  EXPECT_EQ(Gang().state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(Gang().epoch(), 2);
}

}  // namespace
}  // namespace regroup
