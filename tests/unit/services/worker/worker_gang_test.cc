// Tests gangs of several ranks under a real mpirun.
#include <fmt/format.h>
#include <signal.h>

#include "services/worker/attempt/launch_plan.h"
#include "tests/unit/services/worker/worker_fixture.h"

namespace regroup {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Property;

class WorkerGang : public WorkerFixture {
 protected:
  void SetUp() override {
    if (FindProgram(options_.mpirun, getenv("PATH")).empty()) GTEST_SKIP() << "mpirun is not installed";
    StartWorker();
  }
};

TEST_F(WorkerGang, TwoRanksSucceedAndEachLineCarriesItsRank) {
  const AttemptKey key = Assign("finetune", "succeed", 2);
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(key);
  EXPECT_FALSE(outcome.has_failure()) << outcome.failure().ShortDebugString();
  EXPECT_EQ(outcome.figures().at("ranks"), 2);
  EXPECT_TRUE(std::filesystem::exists(Out(key, "done.0")));
  EXPECT_TRUE(std::filesystem::exists(Out(key, "done.1")));
  StopWorker();
  for (const int rank : {0, 1}) {
    EXPECT_THAT(coordinator_.logs,
                Contains(AllOf(Property(&v1::LogEntry::rank, rank),
                               Property(&v1::LogEntry::message, fmt::format("plain from rank {}", rank)))));
  }
  EXPECT_EQ(coordinator_.metrics.size(), 2u);
}

TEST_F(WorkerGang, DoesNotStartIfItsPortsWouldBeOpenToTheNetwork) {
  StopWorker();
  options_.loopback_module = folder_.path() / "libgone.so";
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("finetune", "succeed", 2);
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("libgone.so"));
}

TEST_F(WorkerGang, TheLossOfOneRankEndsTheGangAndIsNamed) {
  const AttemptKey key = Assign("finetune", "wait", 2, {{"go", "/nowhere"}});
  WaitForFile(Out(key, "pid.0"));
  kill(WaitForPid(key, "pid.1"), SIGKILL);
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(key);
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_EQ(outcome.failure().message(), "rank 1 died (signal 9, Killed)");
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerGang, AHungRankIsNamedWhileTheOthersWork) {
  v1::TaskAssignment assignment = MakeAssignment("finetune", "silent-after-attest", 2, {{"rank", "1"}});
  assignment.set_watchdog_s(2);
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(Assign(assignment));
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_HANG);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("rank 1 made no progress for 2 s"));
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerGang, RanksOutliveAKilledMpirunNoLongerThanTheAttempt) {
  const AttemptKey key = Assign("finetune", "ignore-term", 2);
  const pid_t rank = WaitForPid(key, "pid.0");
  WaitForFile(Out(key, "pid.1"));
  WaitForFile(Out(key, "ready"));
  // The parent of a rank is mpirun.
  pid_t mpirun = 0;
  const std::string command = "ps -o ppid= -p " + std::to_string(rank);
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_EQ(fscanf(pipe, "%d", &mpirun), 1);
  pclose(pipe);
  ASSERT_NE(mpirun, getpid());
  kill(mpirun, SIGKILL);
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(key);
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerGang, AFailureOfOneRankEndsTheOthers) {
  const v1::TaskOutcome outcome = RunTask("finetune", "fail", 2, {{"rank", "1"}});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_DATA);
  EXPECT_EQ(outcome.failure().message(), "tensor x is cut short");
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerGang, AGangThatFellApartFails) {
  const v1::TaskOutcome outcome = RunTask("finetune", "wrong-world", 2, {{"rank", "1"}});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("rank 1 sees 1 ranks where 2 were started"));
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerGang, AStopEndsAllRanks) {
  const AttemptKey key = Assign("finetune", "wait", 3, {{"go", "/nowhere"}});
  for (const char* name : {"pid.0", "pid.1", "pid.2"}) WaitForFile(Out(key, name));
  coordinator_.AskToStop(key);
  EXPECT_EQ(coordinator_.WaitForOutcome(key).failure().message(), "stopped at the coordinator's request");
  EXPECT_THAT(Alive(), IsEmpty());
}

}  // namespace
}  // namespace regroup
