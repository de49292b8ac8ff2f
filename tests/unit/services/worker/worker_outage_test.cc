// Tests outages of the coordinator that are shorter and longer than the lease.
#include "tests/unit/services/worker/worker_fixture.h"

namespace regroup {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class WorkerOutage : public WorkerFixture {
 protected:
  std::string Go() const { return (folder_.path() / "go").string(); }
};

TEST_F(WorkerOutage, ATrainerRunsOnThroughARestartOfTheCoordinator) {
  StartWorker();
  const AttemptKey key = Assign("finetune", "wait", 1, {{"go", Go()}});
  const pid_t pid = WaitForPid(key, "pid.0");
  coordinator_.GoAway();
  coordinator_.ComeBack();
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.registrations.size() == 2; }));
  EXPECT_THAT(Alive(), ElementsAre(pid));
  Touch(Go());
  EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
  StopWorker();
  ASSERT_EQ(coordinator_.registrations.back().running_size(), 1);
  EXPECT_EQ(KeyOf(coordinator_.registrations.back().running(0)), key);
  EXPECT_EQ(coordinator_.registrations.front().incarnation(), coordinator_.registrations.back().incarnation());
}

TEST_F(WorkerOutage, AnEndThatCouldNotBeReportedIsKeptAndListedUntilItIs) {
  StartWorker();
  const AttemptKey key = Assign("finetune", "wait", 1, {{"go", Go()}});
  WaitForFile(Out(key, "pid.0"));
  coordinator_.GoAway();
  Touch(Go());
  WaitForFile(Out(key, "done.0"));
  WaitFor([&] { return Alive().empty(); }, "the trainer's end");
  coordinator_.ComeBack();
  EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
  StopWorker();
  ASSERT_EQ(coordinator_.registrations.size(), 2u);
  ASSERT_EQ(coordinator_.registrations.back().running_size(), 1) << "an attempt that is not listed counts as lost";
  std::vector<std::string> messages;
  for (const v1::LogEntry& entry : coordinator_.logs) messages.push_back(entry.message());
  EXPECT_THAT(messages, Contains("plain from rank 0")) << "lines wait too";
}

TEST_F(WorkerOutage, AnEndWhoseAnswerWasLostIsReportedAgain) {
  StartWorker();
  coordinator_.LoseNextAnswer();
  const AttemptKey key = Assign("inspect", "succeed");
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.outcomes.size() == 2; }));
  StopWorker();
  EXPECT_EQ(coordinator_.outcomes[0].first, key);
  EXPECT_EQ(coordinator_.outcomes[1].first, key);
  EXPECT_EQ(coordinator_.outcomes[0].second.SerializeAsString(), coordinator_.outcomes[1].second.SerializeAsString());
}

TEST_F(WorkerOutage, AWorkerWaitsForACoordinatorThatIsNotThereYet) {
  coordinator_.GoAway();
  StartWorker();
  coordinator_.ComeBack();
  EXPECT_FALSE(RunTask("inspect", "succeed").has_failure());
}

class WorkerWithShortLease : public WorkerFixture {
 protected:
  WorkerWithShortLease() : WorkerFixture(std::chrono::seconds(2)) {}
};

TEST_F(WorkerWithShortLease, WithoutTheCoordinatorItKillsWhatRunsWhenTheLeaseEnds) {
  StartWorker();
  const AttemptKey single = Assign("align-000", "ignore-term");
  const AttemptKey gang = Assign("finetune", "ignore-term", 2);
  WaitForFile(Out(single, "ready"));
  WaitForFile(Out(gang, "pid.1"));
  coordinator_.GoAway();
  WaitFor([&] { return Alive().empty(); }, "the end of all trainers");
  coordinator_.ComeBack();
  for (const AttemptKey& key : {single, gang}) {
    const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(key);
    EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
    EXPECT_THAT(outcome.failure().message(), HasSubstr("could not be reached within the lease of 2 s"));
  }
  EXPECT_FALSE(RunTask("inspect", "succeed").has_failure()) << "it works again";
}

TEST_F(WorkerWithShortLease, ATaskThatArrivesAfterTheLeaseDoesNotRunOn) {
  StartWorker();
  const AttemptKey before = Assign("align-000", "ignore-term");
  WaitForFile(Out(before, "ready"));
  coordinator_.IgnoreSignsOfLife(true);
  EXPECT_THAT(coordinator_.WaitForOutcome(before).failure().message(), HasSubstr("within the lease"));
  const v1::TaskOutcome late = RunTask("align-001", "ignore-term");
  EXPECT_EQ(late.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(late.failure().message(), HasSubstr("within the lease"));
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerWithShortLease, HeartbeatsRenewTheLease) {
  StartWorker();
  const AttemptKey key = Assign("finetune", "wait", 1, {{"go", (folder_.path() / "go").string()}});
  WaitForFile(Out(key, "pid.0"));
  // 40 heartbeats of at least 100 ms take longer than the lease.
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.heartbeats > 40; }));
  Touch(folder_.path() / "go");
  EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
}

}  // namespace
}  // namespace regroup
