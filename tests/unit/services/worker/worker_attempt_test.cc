// Tests a successful attempt: the trainer's input, and the messages to the coordinator.
#include <algorithm>
#include <sstream>

#include "services/common/base/files.h"
#include "tests/unit/services/worker/worker_fixture.h"

namespace regroup {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Property;

auto Line(const std::string& message, v1::LogSeverity severity) {
  return AllOf(Property(&v1::LogEntry::message, message), Property(&v1::LogEntry::severity, severity),
               Property(&v1::LogEntry::worker, "node-1"), Property(&v1::LogEntry::epoch, 1));
}

class WorkerAttempt : public WorkerFixture {};

TEST_F(WorkerAttempt, RegistersWhatItOffers) {
  StartWorker();
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.heartbeats > 1; }));
  StopWorker();
  ASSERT_EQ(coordinator_.registrations.size(), 1u);
  const v1::RegisterWorkerRequest& registration = coordinator_.registrations.front();
  EXPECT_EQ(registration.worker(), "node-1");
  EXPECT_EQ(registration.slots(), 4);
  EXPECT_EQ(registration.device(), "cpu");
  EXPECT_NE(registration.device_name(), "");
  EXPECT_NE(registration.host(), "");
  EXPECT_EQ(registration.version(), "0.2.0");
  EXPECT_NE(registration.incarnation(), 0u);
}

TEST_F(WorkerAttempt, SucceedsAndBringsFiguresLogsMetricsAndProgress) {
  StartWorker();
  const v1::TaskOutcome outcome = RunTask("inspect", "succeed");
  EXPECT_FALSE(outcome.has_failure()) << outcome.failure().ShortDebugString();
  EXPECT_EQ(outcome.figures().at("ranks"), 1);
  // All messages of an attempt arrive before its end.
  StopWorker();
  EXPECT_THAT(coordinator_.logs, Contains(Line("from json step=3", v1::LOG_SEVERITY_ERROR)));
  EXPECT_THAT(coordinator_.logs, Contains(Line("plain from rank 0", v1::LOG_SEVERITY_INFO)));
  EXPECT_THAT(coordinator_.logs, Contains(Line("warning without end", v1::LOG_SEVERITY_WARNING)));
  ASSERT_EQ(coordinator_.metrics.size(), 1u);
  EXPECT_EQ(coordinator_.metrics.front().metric(), "loss");
  EXPECT_EQ(coordinator_.metrics.front().task(), "inspect");
  EXPECT_EQ(coordinator_.progress.begin()->second.phase(), "step");
}

TEST_F(WorkerAttempt, EveryLineArrivesOnceAndInOrder) {
  StartWorker();
  EXPECT_FALSE(RunTask("calibrate", "chatter").has_failure());
  StopWorker();
  std::vector<std::string> messages;
  for (const v1::LogEntry& entry : coordinator_.logs) messages.push_back(entry.message());
  ASSERT_EQ(messages.size(), 1000u);
  for (int line = 0; line < 1000; ++line)
    EXPECT_EQ(messages[static_cast<size_t>(line)], "line " + std::to_string(line));
}

TEST_F(WorkerAttempt, WritesTheAssignmentWithTheContractsFieldNames) {
  StartWorker();
  v1::TaskAssignment assignment = MakeAssignment("evaluate-source", "succeed");
  assignment.set_subject("source");
  (*assignment.mutable_inputs())["inspect"] = "jobs/demo/inspect/1/out";
  const AttemptKey key = Assign(assignment);
  EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
  const std::string text = *ReadFile(AttemptFolder(options_.work_folder, key) / "assignment.json");
  EXPECT_THAT(text, AllOf(HasSubstr("\"watchdog_s\": 600"), HasSubstr("\"subject\": \"source\""),
                          HasSubstr("jobs/demo/inspect/1/out")));
}

TEST_F(WorkerAttempt, TheTrainerInheritsNoSecretOfTheWorker) {
  setenv("DATABASE_PASSWORD", "hidden", 1);
  StartWorker();
  const AttemptKey key = Assign("inspect", "environment");
  EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
  const std::string environment = *ReadFile(Out(key, "environment"));
  EXPECT_THAT(environment, AllOf(HasSubstr("REGROUP_WORKER_SOCKET="), HasSubstr("REGROUP_ATTEMPT_TOKEN="),
                                 HasSubstr("OMP_NUM_THREADS="), HasSubstr("REGROUP_ATTEMPT=demo/inspect/1@")));
  EXPECT_THAT(environment, Not(HasSubstr("hidden")));
  EXPECT_THAT(environment, Not(HasSubstr("OMPI_")));
}

TEST_F(WorkerAttempt, AFreshFolderHoldsNothingOfAnEarlierTry) {
  const AttemptKey key{"demo", "inspect", 1};
  std::filesystem::create_directories(Out(key, "").parent_path());
  Touch(Out(key, "leftover"));
  StartWorker();
  EXPECT_FALSE(RunTask("inspect", "succeed").has_failure());
  EXPECT_FALSE(std::filesystem::exists(Out(key, "leftover")));
}

TEST_F(WorkerAttempt, RunsAsManyTasksAtOnceAsItHasSlots) {
  StartWorker();
  const std::filesystem::path go = folder_.path() / "go";
  std::vector<AttemptKey> keys;
  for (int layer = 0; layer < 6; ++layer) {
    keys.push_back(Assign("align-00" + std::to_string(layer), "wait", 1, {{"go", go.string()}}));
  }
  for (int layer = 0; layer < 4; ++layer) WaitForFile(Out(keys[static_cast<size_t>(layer)], "pid.0"));
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.listed.size() == 4; }));
  EXPECT_FALSE(std::filesystem::exists(Out(keys[4], "pid.0"))) << "a fifth task started on four slots";
  Touch(go);
  for (const AttemptKey& key : keys) EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
}

TEST_F(WorkerAttempt, TheGpusOfAnEndedAttemptAreFreeBeforeItsOutcomeIsAnswered) {
  setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d", 1);
  options_.device = "cuda";
  StartWorker();
  unsetenv("CUDA_VISIBLE_DEVICES");
  coordinator_.HoldAnswers(true);
  const AttemptKey first = Assign("inspect", "succeed");
  coordinator_.WaitForOutcome(first);
  // A coordinator that has the outcome may hand out all four slots at once.
  const AttemptKey second = Assign("finetune", "environment", 4);
  WaitForFile(Out(second, "environment"));
  coordinator_.HoldAnswers(false);
  coordinator_.WaitForOutcome(second);
  EXPECT_THAT(*ReadFile(Out(second, "environment")), HasSubstr("CUDA_VISIBLE_DEVICES=GPU-a,GPU-b,GPU-c,GPU-d\n"));
}

TEST_F(WorkerAttempt, NothingOfAnEndedAttemptRunsOn) {
  StartWorker();
  const AttemptKey key = Assign("calibrate", "escape");
  EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
  EXPECT_TRUE(std::filesystem::exists(Out(key, "escaped"))) << "the test's own premise";
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerAttempt, AStoppedWorkerLeavesNothingButResults) {
  StartWorker();
  EXPECT_FALSE(RunTask("inspect", "succeed").has_failure());
  EXPECT_FALSE(std::filesystem::is_empty(runtime_base_)) << "the test's own premise";
  StopWorker();
  EXPECT_TRUE(std::filesystem::is_empty(runtime_base_));
}

}  // namespace
}  // namespace regroup
