// Tests attempts that fail, and attempts that are stopped.
#include <signal.h>

#include "tests/unit/services/worker/worker_fixture.h"

namespace regroup {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class WorkerFailure : public WorkerFixture {};

TEST_F(WorkerFailure, AReportedFailureArrivesAsReportedWithTheLastLines) {
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("export", "fail");
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_DATA);
  EXPECT_EQ(outcome.failure().message(), "tensor x is cut short");
  EXPECT_THAT(outcome.failure().log_tail(), Contains("rank 0: the last words"));
}

TEST_F(WorkerFailure, AProcessThatStaysAfterItsFailureIsKilled) {
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("export", "fail-and-stay");
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_DATA);
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerFailure, AnExitWithoutAnOutcomeIsADefectWithTheLastLines) {
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("export", "exit-3");
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INTERNAL);
  EXPECT_EQ(outcome.failure().message(), "the trainer exited with status 3 without reporting an outcome");
  EXPECT_THAT(outcome.failure().log_tail(), Contains("rank 0: about to give up"));
}

TEST_F(WorkerFailure, AnExitWithStatusZeroIsNoSuccessWithoutAnOutcome) {
  StartWorker();
  EXPECT_EQ(RunTask("export", "exit-0").failure().failure_class(), v1::FAILURE_CLASS_INTERNAL);
}

TEST_F(WorkerFailure, AKilledTrainerIsALossOfInfrastructure) {
  StartWorker();
  const AttemptKey key = Assign("align-000", "wait", 1, {{"go", "/nowhere"}});
  kill(WaitForPid(key, "pid.0"), SIGKILL);
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(key);
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_EQ(outcome.failure().message(), "rank 0 died (signal 9, Killed)");
}

TEST_F(WorkerFailure, AHungRankIsKilledAndNamedWithItsCollective) {
  StartWorker();
  v1::TaskAssignment assignment = MakeAssignment("finetune", "hang");
  assignment.set_watchdog_s(1);
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(Assign(assignment));
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_HANG);
  EXPECT_EQ(outcome.failure().message(),
            "rank 0 made no progress for 1 s at step 12 in backward, waiting in reduce_scatter #7");
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerFailure, ATrainerThatNeverReportsIsGivenUp) {
  options_.attest_patience = std::chrono::milliseconds(500);
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("inspect", "silent");
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("0 of 1 ranks had reported"));
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerFailure, ATrainerWithAnotherTokenIsRefused) {
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("inspect", "wrong-token");
  EXPECT_EQ(outcome.failure().message(), "the trainer exited with status " +
                                             std::to_string(grpc::StatusCode::PERMISSION_DENIED) +
                                             " without reporting an outcome");
}

TEST_F(WorkerFailure, AMissingTrainerProgramIsNamed) {
  options_.trainer = "/no/such/regroup-trainer";
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("inspect", "succeed");
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("/no/such/regroup-trainer"));
}

TEST_F(WorkerFailure, ANameThatLeadsOutOfTheWorkingFolderIsRefused) {
  StartWorker();
  EXPECT_THAT(RunTask("..", "succeed").failure().message(), HasSubstr("cannot be the name of a folder"));
  EXPECT_THAT(RunTask("a/../../b", "succeed").failure().message(), HasSubstr("cannot be the name of a folder"));
}

TEST_F(WorkerFailure, TheCoordinatorsStopEndsAnAttemptEvenIfItIgnoresThePoliteSignal) {
  StartWorker();
  const AttemptKey key = Assign("finetune", "ignore-term");
  WaitForFile(Out(key, "ready"));
  coordinator_.AskToStop(key);
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(key);
  EXPECT_EQ(outcome.failure().message(), "stopped at the coordinator's request");
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerFailure, AStaleEndIsForgottenAndItsSlotsAreFree) {
  options_.slots = 1;
  StartWorker();
  const AttemptKey key = Assign("finetune", "wait", 1, {{"go", "/nowhere"}});
  WaitForFile(Out(key, "pid.0"));
  coordinator_.MakeStale(key);
  coordinator_.AskToStop(key);
  EXPECT_FALSE(RunTask("inspect", "succeed").has_failure());
  EXPECT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.refused_reports == 1 && coordinator_.listed.empty(); }));
}

TEST_F(WorkerFailure, ANewerEpochStartsWhenNothingOfTheOlderIsLeft) {
  StartWorker();
  const AttemptKey older = Assign("finetune", "ignore-term");
  const pid_t pid = WaitForPid(older, "pid.0");
  coordinator_.MakeStale(older);
  v1::TaskAssignment newer = MakeAssignment("finetune", "succeed");
  newer.mutable_attempt()->set_epoch(2);
  EXPECT_FALSE(coordinator_.WaitForOutcome(Assign(newer)).has_failure());
  EXPECT_THAT(Alive(), testing::Not(Contains(pid)));
}

TEST_F(WorkerFailure, StoppingTheWorkerStopsItsAttemptsAndSaysSo) {
  StartWorker();
  const AttemptKey polite = Assign("align-000", "wait", 1, {{"go", "/nowhere"}});
  const AttemptKey stubborn = Assign("align-001", "ignore-term");
  WaitForFile(Out(polite, "pid.0"));
  WaitForFile(Out(stubborn, "ready"));
  StopWorker();
  for (const AttemptKey& key : {polite, stubborn}) {
    const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(key);
    EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
    EXPECT_EQ(outcome.failure().message(), "the worker was stopped");
  }
  EXPECT_THAT(Alive(), IsEmpty());
}

}  // namespace
}  // namespace regroup
