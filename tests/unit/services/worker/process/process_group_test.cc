#include "services/worker/process/process_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "services/common/base/files.h"
#include "services/worker/process/process_scan.h"
#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class ProcessGroupTest : public testing::Test {
 protected:
  /// Returns a plan that runs a shell script as the leader.
  ProcessPlan Script(const std::string& text) const {
    return {.arguments = {"/bin/sh", "-c", text},
            .environment = {marker_, "PATH=/usr/bin:/bin", "OUT=" + folder_.path().string()},
            .working_folder = folder_.path(),
            .stdout_file = folder_.path() / "stdout",
            .stderr_file = folder_.path() / "stderr",
            .marker = {marker_}};
  }
  std::unique_ptr<ProcessGroup> Start(const ProcessPlan& plan, bool with_control_group = true) {
    static int number = 0;
    const std::string name = "regroup-test-" + std::to_string(getpid()) + "-" + std::to_string(++number);
    std::optional<ControlGroup> group = with_control_group ? ControlGroup::Create(name) : std::nullopt;
    auto processes = ProcessGroup::Start(plan, std::move(group));
    EXPECT_TRUE(processes.ok()) << processes.status();
    return *std::move(processes);
  }
  static void WaitForEnd(ProcessGroup& processes) {
    while (!processes.WaitForExit(std::chrono::seconds(10))) {
    }
  }
  pid_t WaitForPidIn(const std::string& name) const {
    for (int i = 0; i < 3000; ++i) {
      std::ifstream file(folder_.path() / name);
      pid_t pid = 0;
      if (file >> pid) return pid;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << name << " did not appear";
    return 0;
  }
  std::string Content(const std::string& name) const { return ReadFile(folder_.path() / name).value_or(""); }
  std::vector<pid_t> Alive() const { return ProcessesWithEnvironment({marker_}); }

  TemporaryFolder folder_;
  const std::string marker_ = "REGROUP_TEST=" + folder_.path().string();
};

TEST_F(ProcessGroupTest, RunsAProgramAndKeepsItsOutputAndStatus) {
  const auto processes = Start(Script("echo out; echo err >&2; pwd; exit 3"));
  WaitForEnd(*processes);
  EXPECT_TRUE(processes->KillEverything().ok());
  EXPECT_EQ(Content("stdout"), "out\n" + folder_.path().string() + "\n");
  EXPECT_EQ(Content("stderr"), "err\n");
  ASSERT_TRUE(WIFEXITED(processes->wait_status()));
  EXPECT_EQ(WEXITSTATUS(processes->wait_status()), 3);
}

TEST_F(ProcessGroupTest, InheritsNothingFromTheWorker) {
  setenv("REGROUP_TEST_SECRET", "hidden", 1);
  const auto processes = Start(Script("env; ls /proc/self/fd | wc -l"));
  WaitForEnd(*processes);
  EXPECT_THAT(Content("stdout"), HasSubstr(marker_));
  EXPECT_THAT(Content("stdout"), Not(HasSubstr("hidden")));
  // The four are standard input, output, error, and the folder that ls reads.
  EXPECT_THAT(Content("stdout"), HasSubstr("\n4\n"));
}

TEST_F(ProcessGroupTest, AProgramThatDoesNotExistIsNamed) {
  ProcessPlan plan = Script("");
  plan.arguments = {"/no/such/trainer"};
  const auto processes = ProcessGroup::Start(plan, std::nullopt);
  EXPECT_TRUE(absl::IsNotFound(processes.status()));
  EXPECT_THAT(std::string(processes.status().message()), HasSubstr("/no/such/trainer"));
}

TEST_F(ProcessGroupTest, SaysWhichSignalEndedTheLeader) {
  const auto processes = Start(Script("kill -9 $$"));
  WaitForEnd(*processes);
  EXPECT_TRUE(processes->KillEverything().ok());
  ASSERT_TRUE(WIFSIGNALED(processes->wait_status()));
  EXPECT_EQ(WTERMSIG(processes->wait_status()), SIGKILL);
}

TEST_F(ProcessGroupTest, KillsALeaderThatIgnoresThePoliteSignal) {
  const auto processes = Start(Script("trap '' TERM; echo $$ > $OUT/pid; while :; do sleep 1; done"));
  WaitForPidIn("pid");
  processes->Signal(SIGTERM);
  EXPECT_FALSE(processes->WaitForExit(std::chrono::milliseconds(300)));
  EXPECT_TRUE(processes->KillEverything().ok());
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(ProcessGroupTest, WakeEndsTheWaiting) {
  const auto processes = Start(Script("sleep 1000"));
  std::thread waker([&] { processes->Wake(); });
  EXPECT_FALSE(processes->WaitForExit(std::chrono::hours(1)));
  waker.join();
}

// Tries each way in which a process leaves its group and session, with and without a control group.
class Escape : public ProcessGroupTest, public testing::WithParamInterface<std::tuple<std::string, bool>> {};

TEST_P(Escape, EndsWithTheAttempt) {
  const auto [script, with_control_group] = GetParam();
  const auto processes = Start(Script(script), with_control_group);
  const pid_t escaped = WaitForPidIn("escaped");
  WaitForEnd(*processes);
  EXPECT_THAT(Alive(), Contains(escaped));
  EXPECT_TRUE(processes->KillEverything().ok());
  EXPECT_THAT(Alive(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Escape,
    testing::Combine(testing::Values("setsid sh -c 'echo $$ > $OUT/escaped; exec sleep 1000' & sleep 0.1",
                                     "(setsid sh -c '(echo $$ > $OUT/escaped; sleep 1000) & sleep 1000' &)",
                                     "sh -c 'echo $$ > $OUT/escaped; exec sleep 1000' & sleep 0.1"),
                     testing::Bool()));

TEST_F(ProcessGroupTest, TheControlGroupHoldsEvenWhatErasedItsEnvironment) {
  const std::string name = "regroup-test-erase-" + std::to_string(getpid());
  std::optional<ControlGroup> group = ControlGroup::Create(name);
  if (!group) GTEST_SKIP() << "this user may not create a control group on this machine";
  auto started = ProcessGroup::Start(
      Script("setsid env -i sh -c 'echo $$ > " + folder_.path().string() + "/escaped; exec sleep 1000' & sleep 0.1"),
      std::move(group));
  ASSERT_TRUE(started.ok());
  const pid_t escaped = WaitForPidIn("escaped");
  WaitForEnd(**started);
  EXPECT_EQ(kill(escaped, 0), 0);
  EXPECT_TRUE((*started)->KillEverything().ok());
  EXPECT_THAT(ReadFile("/proc/" + std::to_string(escaped) + "/cmdline").value_or(""), Not(HasSubstr("sleep")));
}

TEST_F(ProcessGroupTest, NoEntryFindsNoProcess) { EXPECT_THAT(ProcessesWithEnvironment({}), IsEmpty()); }

}  // namespace
}  // namespace regroup
