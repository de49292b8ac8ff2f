// Tests where a task goes after an attempt that failed because of its machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/schedule/cluster.h"
#include "tests/unit/coordinator/schedule/cluster_fixture.h"

namespace regroup {
namespace {

class MachineFailureTest : public ClusterFixture {
 protected:
  /// Has w1 fail to inspect, while w2 does not ask.
  void SetUp() override {
    cluster_.Register(w1_.Registration(), now_);
    cluster_.Register(w2_.Registration(), now_);
    Add("a");
    const auto assignment = Ask(w1_);
    ASSERT_TRUE(assignment);
    ASSERT_TRUE(Report(w1_, assignment->attempt(), FailureOf(v1::FAILURE_CLASS_INFRA, "the GPU has failed")).ok());
  }
  std::string Worker() const { return last_seen_.at("a").job.tasks(0).worker(); }
  void Wait(FakeWorker& worker) { ASSERT_TRUE(cluster_.Acquire(worker.Acquire(worker.slots), ++ticket_, now_).ok()); }
};

TEST_F(MachineFailureTest, SendsTheTaskToAnotherWorker) {
  Wait(w1_);
  Wait(w2_);
  PassTime(2 * kSecond);
  EXPECT_EQ(Worker(), "workers/w2");
}

TEST_F(MachineFailureTest, DoesNotWaitForAnotherWorkerThatIsBusy) {
  Wait(w1_);
  PassTime(2 * kSecond);
  EXPECT_EQ(Worker(), "workers/w1");
  EXPECT_EQ(last_seen_.at("a").job.tasks(0).epoch(), 2);
}

}  // namespace
}  // namespace regroup
