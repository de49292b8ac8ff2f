// Tests how a cluster lets training give way to jobs of higher priority, and lets it go on afterwards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/base/error.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/schedule/cluster_fixture.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ClusterPreemptionTest : public ClusterFixture {
 protected:
  ClusterPreemptionTest() {
    cluster_ = Cluster({.preempts = true});
    Join(w1_);
  }
  void Join(FakeWorker& worker) {
    (void)cluster_.Register(worker.Registration(), now_);
    Settle();
  }
  const v1::Job& Seen(const std::string& id) { return last_seen_.at(id).job; }
  static v1::JobSpec Spec(int priority) {
    v1::JobSpec spec = SmallSpec();
    spec.mutable_resources()->set_priority(priority);
    return spec;
  }
  /// Runs the job's tasks on the worker until its training has begun.
  v1::AttemptId TrainOn(FakeWorker& worker, const std::string& id, int priority, const std::string& owner = "") {
    Add(id, Spec(priority), owner);
    for (;;) {
      const std::optional<v1::TaskAssignment> got = Ask(worker);
      if (!got) return v1::AttemptId();
      if (got->attempt().task() == "finetune") return got->attempt();
      EXPECT_TRUE(
          Report(worker, got->attempt(), got->attempt().task() == "inspect" ? InspectSuccess() : Success()).ok());
    }
  }
  std::vector<std::string> ToldToPause(const FakeWorker& worker) {
    std::vector<std::string> jobs;
    const absl::StatusOr<v1::HeartbeatResponse> told = Beat(worker);
    for (const v1::AttemptId& attempt : told->pause()) jobs.push_back(attempt.job());
    return jobs;
  }
  void ReportPaused(FakeWorker& worker, const v1::AttemptId& attempt) {
    v1::TaskOutcome outcome;
    outcome.set_paused(true);
    ASSERT_TRUE(Report(worker, attempt, outcome).ok());
  }
  /// Passes time in which the workers stay alive.
  void Wait(Duration time = kSecond) {
    for (const Time end = now_ + time; now_ < end;) {
      PassTime(kSecond);
      ASSERT_TRUE(Beat(w1_).ok());
      if (!cluster_.workers().Find("w2")) continue;
      ASSERT_TRUE(Beat(w2_).ok());
    }
  }
};

TEST_F(ClusterPreemptionTest, TrainingGivesWayAndGoesOnWhenTheOtherJobHasEnded) {
  const v1::AttemptId training = TrainOn(w1_, "long", 0);
  Add("short", Spec(1));
  Wait();
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_PAUSING);
  EXPECT_EQ(Seen("long").gave_way_to(), "short");
  EXPECT_THAT(ToldToPause(w1_), ElementsAre("long"));
  ReportPaused(w1_, training);
  EXPECT_EQ(cluster_.WaitingReasonOf(*cluster_.jobs().Find("long"), now_),
            "gave way to job short, which has a higher priority");
  const std::optional<v1::TaskAssignment> first = Ask(w1_);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->attempt().job(), "short");
  ASSERT_TRUE(Report(w1_, first->attempt(), InspectSuccess()).ok());
  Wait();
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_PAUSED) << "the other job's next task waits";

  ASSERT_TRUE(cluster_.CancelJob("short", now_).ok());
  Settle();
  Wait();
  EXPECT_EQ(Seen("long").gave_way_to(), "");
  const std::optional<v1::TaskAssignment> again = Ask(w1_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->attempt().job(), "long");
  EXPECT_EQ(again->attempt().task(), "finetune");
  EXPECT_EQ(Seen("long").tasks(0).infrastructure_failures(), 0);
}

TEST_F(ClusterPreemptionTest, NothingGivesWayUnlessTheCoordinatorPreempts) {
  cluster_ = Cluster(ClusterOptions{});
  Join(w1_);
  TrainOn(w1_, "long", 0);
  Add("short", Spec(1));
  Wait(10 * kSecond);
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_RUNNING);
}

TEST_F(ClusterPreemptionTest, NeitherAnEqualPriorityNorAnotherOwnerTakesSlots) {
  TrainOn(w1_, "long", 1, "alice");
  Add("equal", Spec(1), "alice");
  Wait();
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_RUNNING);
  ASSERT_TRUE(cluster_.CancelJob("equal", now_).ok());
  Add("other", Spec(5), "bob");
  Wait();
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_RUNNING);
}

TEST_F(ClusterPreemptionTest, OnlyTrainingGivesWay) {
  Add("long", Spec(0));
  ASSERT_EQ(Ask(w1_)->attempt().task(), "inspect");
  Add("short", Spec(1));
  Wait();
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_RUNNING);
}

TEST_F(ClusterPreemptionTest, NothingStopsForATaskThatNoWorkerCouldHold) {
  TrainOn(w1_, "long", 0);
  v1::JobSpec spec = Spec(1);
  spec.mutable_resources()->set_device("cuda");
  Add("short", spec);
  // The task that asks what the model is needs no GPU.
  Wait();
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_PAUSING);
  ReportPaused(w1_, w1_.running.front());
  const v1::AttemptId inspect = Ask(w1_)->attempt();
  ASSERT_TRUE(Report(w1_, inspect, InspectSuccess()).ok());
  Wait();
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_PAUSED) << "such a worker may only have lost its connection";
  Wait(cluster_.options().lease);
  EXPECT_NE(Seen("long").state(), v1::JOB_STATE_PAUSED) << "the other job waits for a worker that does not exist";
  ASSERT_EQ(Ask(w1_)->attempt().job(), "long");
  Wait(5 * kSecond);
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_RUNNING);
}

TEST_F(ClusterPreemptionTest, NothingStopsWhileASlotIsFreeOrComesFree) {
  TrainOn(w1_, "first", 0);
  Join(w2_);
  Wait();
  TrainOn(w2_, "second", 0);
  Add("short", Spec(1));
  Wait();
  EXPECT_EQ(Seen("second").state(), v1::JOB_STATE_PAUSING) << "it started last";
  Wait(3 * kSecond);
  EXPECT_EQ(Seen("first").state(), v1::JOB_STATE_RUNNING);
  ReportPaused(w2_, w2_.running.front());
  ASSERT_EQ(Ask(w2_)->attempt().job(), "short");
  Wait();
  EXPECT_EQ(Seen("first").state(), v1::JOB_STATE_RUNNING);
}

TEST_F(ClusterPreemptionTest, APauseByAPersonOutlastsTheOtherJob) {
  const v1::AttemptId training = TrainOn(w1_, "long", 0);
  Add("short", Spec(1));
  Wait();
  ReportPaused(w1_, training);
  ASSERT_TRUE(cluster_.PauseJob("long", now_).ok());
  Settle();
  EXPECT_EQ(Seen("long").gave_way_to(), "") << "it is stored";
  ASSERT_TRUE(cluster_.CancelJob("short", now_).ok());
  Settle();
  Wait(3 * kSecond);
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(cluster_.WaitingReasonOf(*cluster_.jobs().Find("long"), now_), "paused until it is resumed");
}

TEST_F(ClusterPreemptionTest, ARestartedCoordinatorWaitsForItsWorkers) {
  const v1::AttemptId training = TrainOn(w1_, "long", 0);
  Add("short", Spec(1));
  Wait();
  ReportPaused(w1_, training);
  const std::map<std::string, JobRecord> stored = last_seen_;
  cluster_ = Cluster({.preempts = true});
  for (const auto& [id, record] : stored) ASSERT_TRUE(cluster_.RestoreJob(record, now_).ok());
  PassTime(kSecond);
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_PAUSED) << "no worker has registered yet";
  Join(w1_);
  Wait(2 * cluster_.options().lease);
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_PAUSED);
  EXPECT_EQ(Ask(w1_)->attempt().job(), "short");
}

TEST_F(ClusterPreemptionTest, AnotherOwnersTaskBeyondItsQuotaStopsNothing) {
  FakeWorker large("large", 3);
  Join(large);
  Quotas quotas;
  quotas.of_owner["alice"].slots = 1;
  cluster_.SetQuotas(quotas);
  w1_.slots = 0;
  Join(w1_);
  Add("of-alice", Spec(0), "alice");
  ASSERT_EQ(Ask(large)->attempt().job(), "of-alice");
  Add("waits", Spec(0), "alice");
  v1::JobSpec two = Spec(0);
  two.mutable_finetune()->set_ranks(2);
  Add("long", two, "bob");
  for (;;) {
    const std::optional<v1::TaskAssignment> got = Ask(large, 2);
    ASSERT_TRUE(got);
    ASSERT_EQ(got->attempt().job(), "long");
    if (got->attempt().task() == "finetune") break;
    ASSERT_TRUE(Report(large, got->attempt(), got->attempt().task() == "inspect" ? InspectSuccess() : Success()).ok());
  }
  Add("urgent", Spec(9), "bob");
  PassTime(kSecond);
  EXPECT_EQ(Seen("long").gave_way_to(), "urgent");
}

TEST_F(ClusterPreemptionTest, ARestartedCoordinatorStillResumesIt) {
  const v1::AttemptId training = TrainOn(w1_, "long", 0);
  Add("short", Spec(1));
  Wait();
  ReportPaused(w1_, training);
  for (const bool preempts : {true, false}) {
    const std::map<std::string, JobRecord> stored = last_seen_;
    cluster_ = Cluster({.preempts = preempts});
    for (const auto& [id, record] : stored) ASSERT_TRUE(cluster_.RestoreJob(record, now_).ok());
    Join(w1_);
    Wait();
    EXPECT_EQ(Seen("long").gave_way_to(), preempts ? "short" : "");
  }
  EXPECT_EQ(Seen("long").state(), v1::JOB_STATE_RUNNING) << "without --preempt nothing keeps it waiting";
}

}  // namespace
}  // namespace regroup
