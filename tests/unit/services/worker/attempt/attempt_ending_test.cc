#include "services/worker/attempt/attempt_ending.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Exit statuses as waitpid encodes them on Linux.
constexpr int Exited(int code) { return code << 8; }
constexpr int Killed(int signal_number) { return signal_number; }

v1::TaskOutcome Success() {
  v1::TaskOutcome outcome;
  (*outcome.mutable_figures())["perplexity/source"] = 33.6;
  return outcome;
}

v1::TaskOutcome Failure(v1::FailureClass failure_class, const std::string& message) {
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(failure_class);
  outcome.mutable_failure()->set_message(message);
  return outcome;
}

TEST(AttemptEnding, ReportedSuccessWithExitStatusZeroIsASuccess) {
  const v1::TaskOutcome outcome = DecideOutcome({.wait_status = Exited(0), .reported = Success()});
  EXPECT_FALSE(outcome.has_failure());
  EXPECT_EQ(outcome.figures().at("perplexity/source"), 33.6);
}

TEST(AttemptEnding, AStopThatCameTooLateDoesNotUndoASuccess) {
  const v1::TaskOutcome outcome = DecideOutcome(
      {.wait_status = Exited(0), .reported = Success(), .verdict = Verdict{v1::FAILURE_CLASS_INFRA, "worker stopped"}});
  EXPECT_FALSE(outcome.has_failure());
}

TEST(AttemptEnding, AReportedPauseIsNeitherSuccessNorFailureWhateverTheExitStatus) {
  v1::TaskOutcome paused;
  paused.set_paused(true);
  for (const int wait_status : {Exited(0), Exited(1), Killed(SIGKILL)}) {
    const v1::TaskOutcome outcome = DecideOutcome({.wait_status = wait_status, .reported = paused});
    EXPECT_TRUE(outcome.paused());
    EXPECT_FALSE(outcome.has_failure());
  }
}

TEST(AttemptEnding, AStopForAPauseHidesNeitherASuccessNorAFailureThatCameBefore) {
  const Verdict pause = {.message = "its job is paused", .is_pause = true};
  EXPECT_TRUE(DecideOutcome({.wait_status = Killed(SIGTERM), .verdict = pause}).paused());
  EXPECT_FALSE(DecideOutcome({.wait_status = Exited(0), .reported = Success(), .verdict = pause}).paused());
  const v1::TaskOutcome failed = DecideOutcome(
      {.wait_status = Exited(1), .reported = Failure(v1::FAILURE_CLASS_DATA, "a damaged file"), .verdict = pause});
  EXPECT_EQ(failed.failure().failure_class(), v1::FAILURE_CLASS_DATA);
  EXPECT_FALSE(failed.paused());
}

TEST(AttemptEnding, ReportedSuccessWithAnotherExitStatusIsADefect) {
  const v1::TaskOutcome outcome = DecideOutcome({.wait_status = Exited(1), .reported = Success()});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INTERNAL);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("status 1 after it had reported success"));
}

TEST(AttemptEnding, ExitWithoutAnOutcomeIsADefectAndCarriesTheLogTail) {
  const v1::TaskOutcome outcome = DecideOutcome({.wait_status = Exited(0), .log_tail = {"rank 0: one", "rank 0: two"}});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INTERNAL);
  EXPECT_THAT(outcome.failure().log_tail(), ElementsAre("rank 0: one", "rank 0: two"));
}

TEST(AttemptEnding, DeathByASignalIsALossOfInfrastructure) {
  const v1::TaskOutcome outcome = DecideOutcome({.wait_status = Killed(SIGKILL)});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_EQ(outcome.failure().message(), "rank 0 died (signal 9, Killed)");
}

TEST(AttemptEnding, MpirunNamesTheRankThatDied) {
  const v1::TaskOutcome outcome = DecideOutcome(
      {.ranks = 2,
       .wait_status = Exited(137),
       .launcher_output = "mpirun noticed that process rank 1 with PID 77 on node vm exited on signal 9 (Killed).\n"});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_EQ(outcome.failure().message(), "rank 1 died (signal 9, Killed)");
}

TEST(AttemptEnding, MpirunsExitStatusAloneTellsOfASignal) {
  const v1::TaskOutcome outcome = DecideOutcome({.ranks = 2, .wait_status = Exited(128 + SIGSEGV)});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("signal 11"));
}

TEST(AttemptEnding, ReportedFailureStandsWhateverTheExitStatus) {
  for (const int status : {Exited(0), Exited(1), Killed(SIGKILL)}) {
    const v1::TaskOutcome outcome = DecideOutcome(
        {.wait_status = status, .reported = Failure(v1::FAILURE_CLASS_USER, "kv_heads 3 does not divide 8")});
    EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_USER);
    EXPECT_EQ(outcome.failure().message(), "kv_heads 3 does not divide 8");
  }
}

TEST(AttemptEnding, ADefectReportedBesideAKilledRankIsThatRanksLoss) {
  const v1::TaskOutcome outcome =
      DecideOutcome({.ranks = 2,
                     .wait_status = Exited(1),
                     .reported = Failure(v1::FAILURE_CLASS_INTERNAL, "connection closed"),
                     .reported_by = 0,
                     .launcher_output = "process rank 1 with PID 77 on node vm exited on signal 9 (Killed)."});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(outcome.failure().message(), HasSubstr("rank 0 said: connection closed"));
}

TEST(AttemptEnding, OurOwnKillDoesNotTurnADefectIntoALoss) {
  const v1::TaskOutcome outcome = DecideOutcome({.wait_status = Killed(SIGKILL),
                                                 .reported = Failure(v1::FAILURE_CLASS_INTERNAL, "bad index"),
                                                 .killed_by_worker = true});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INTERNAL);
}

TEST(AttemptEnding, TheWorkersVerdictExplainsTheSignalItSent) {
  const v1::TaskOutcome outcome =
      DecideOutcome({.wait_status = Killed(SIGKILL),
                     .verdict = Verdict{v1::FAILURE_CLASS_HANG, "rank 0 made no progress for 60 s at step 3"},
                     .killed_by_worker = true});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_HANG);
  EXPECT_EQ(outcome.failure().message(), "rank 0 made no progress for 60 s at step 3");
}

TEST(AttemptEnding, ALostWorkerOfAGangIsNamed) {
  const AttemptEvidence evidence{.ranks = 4,
                                 .wait_status = Exited(1),
                                 .launcher_output =
                                     "something else\n"
                                     "regroup-rsh: worker b (b:7448) was lost: Socket closed\n"
                                     "ORTE has lost communication with a remote daemon."};
  const v1::TaskOutcome outcome = DecideOutcome(evidence);
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_EQ(outcome.failure().message(), "worker b (b:7448) was lost: Socket closed");
}

TEST(AttemptEnding, ADefectReportedBesideALostWorkerIsThatLoss) {
  const v1::TaskOutcome outcome = DecideOutcome({.ranks = 4,
                                                 .wait_status = Exited(1),
                                                 .reported = Failure(v1::FAILURE_CLASS_INTERNAL, "broken pipe"),
                                                 .reported_by = 1,
                                                 .launcher_output = "regroup-rsh: worker b was lost\n"});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_EQ(outcome.failure().message(), "worker b was lost; rank 1 said: broken pipe");
}

TEST(AttemptEnding, AGangThatNeverFormedNamesTheWorkerThatIsMissing) {
  const v1::TaskOutcome outcome = DecideOutcome(
      {.ranks = 4, .wait_status = Exited(1), .missing = "worker b (b:7448) did not join with all its 2 ranks"});
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_EQ(outcome.failure().message(), "the gang did not form: worker b (b:7448) did not join with all its 2 ranks");
}

}  // namespace
}  // namespace regroup
