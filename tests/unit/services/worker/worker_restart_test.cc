// Tests the real program regroup-worker: killed, restarted, stopped by a signal, orphaned.
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <map>

#include "tests/unit/services/worker/worker_fixture.h"

namespace regroup {
namespace {

using testing::Contains;
using testing::ElementsAre;

using testing::IsEmpty;

class WorkerProgram : public WorkerFixture {
 protected:
  ~WorkerProgram() override {
    for (const pid_t pid : started_) {
      kill(pid, SIGTERM);
      waitpid(pid, nullptr, 0);
    }
  }

  using Flags = std::map<std::string, std::string>;

  /// Returns the worker's command line; `changed` replaces or adds flags.
  std::string CommandLine(const Flags& changed = {}) const {
    Flags flags = changed;
    flags.insert({{"--coordinator", coordinator_.address()},
                  {"--work-dir", options_.work_folder.string()},
                  {"--id", "node-1"},
                  {"--slots", "4"},
                  {"--device", "cpu"},
                  {"--trainer", FAKE_TRAINER},
                  {"--log-format", "text"}});
    std::string line = REGROUP_WORKER_PROGRAM;
    for (const auto& [name, value] : flags) line += " " + name + " " + value;
    return line;
  }
  pid_t StartShell(const std::string& command) {
    const pid_t pid = fork();
    if (pid == 0) {
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    started_.push_back(pid);
    return pid;
  }
  pid_t StartProgram(const Flags& changed = {}) { return StartShell("exec " + CommandLine(changed)); }
  int WaitForStatus(pid_t pid) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    std::erase(started_, pid);
    return status;
  }

  std::vector<pid_t> started_;
};

TEST_F(WorkerProgram, AfterKillNineTheNextOneEndsWhatWasLeftAndWorks) {
  const pid_t first = StartProgram();
  const AttemptKey gang = Assign("finetune", "ignore-term", 2);
  const AttemptKey escaped = Assign("calibrate", "escape-and-wait");
  WaitForFile(Out(gang, "pid.0"));
  WaitForFile(Out(gang, "pid.1"));
  const pid_t daemon = WaitForPid(escaped, "escaped");
  kill(first, SIGKILL);
  WaitForStatus(first);
  EXPECT_THAT(Alive(), Contains(daemon)) << "the test's own premise";
  StartProgram();
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.registrations.size() == 2; }));
  EXPECT_THAT(Alive(), IsEmpty()) << "no process may be left when the worker registers";
  EXPECT_FALSE(RunTask("inspect", "succeed").has_failure());
  ASSERT_TRUE(coordinator_.WaitUntil([] { return true; }));
  EXPECT_EQ(coordinator_.registrations[1].running_size(), 0);
  EXPECT_NE(coordinator_.registrations[0].incarnation(), coordinator_.registrations[1].incarnation());
}

TEST_F(WorkerProgram, ATrainerOfItsOwnDiesWithAKilledWorker) {
  const pid_t program = StartProgram();
  const AttemptKey key = Assign("align-000", "ignore-term");
  WaitForFile(Out(key, "ready"));
  kill(program, SIGKILL);
  WaitForStatus(program);
  WaitFor([&] { return Alive().empty(); }, "the trainer's end");
}

TEST_F(WorkerProgram, ALeftoverOfAnotherWorkerIsLeftAlone) {
  const pid_t program = StartProgram();
  const AttemptKey key = Assign("align-000", "wait", 1, {{"go", "/nowhere"}});
  const pid_t trainer = WaitForPid(key, "pid.0");
  const pid_t other = StartProgram({{"--id", "node-2"}});
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.registrations.size() >= 2; }));
  EXPECT_THAT(Alive(), ElementsAre(trainer));
  kill(other, SIGTERM);
  WaitForStatus(other);
  kill(program, SIGTERM);
  WaitForStatus(program);
}

TEST_F(WorkerProgram, SigtermStopsItsAttemptsTellsTheCoordinatorAndExitsWithZero) {
  const pid_t program = StartProgram();
  const AttemptKey key = Assign("finetune", "wait", 2, {{"go", "/nowhere"}});
  WaitForFile(Out(key, "pid.0"));
  WaitForFile(Out(key, "pid.1"));
  kill(program, SIGTERM);
  const int status = WaitForStatus(program);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(coordinator_.WaitForOutcome(key).failure().message(), "the worker was stopped");
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerProgram, DiesWithItsParentWhenToldTo) {
  const std::filesystem::path pid_file = folder_.path() / "worker.pid";
  const pid_t parent = StartShell(CommandLine({{"--die-with-parent", ""}}) + " & echo $! > " + pid_file.string() +
                                  ".tmp; mv " + pid_file.string() + ".tmp " + pid_file.string() + "; wait");
  const AttemptKey key = Assign("align-000", "wait", 1, {{"go", "/nowhere"}});
  WaitForFile(Out(key, "pid.0"));
  pid_t program = 0;
  std::ifstream(pid_file) >> program;
  kill(parent, SIGKILL);
  WaitForStatus(parent);
  EXPECT_EQ(coordinator_.WaitForOutcome(key).failure().message(), "the worker was stopped");
  const std::string command_line = "/proc/" + std::to_string(program) + "/cmdline";
  WaitFor(
      [&] {
        std::string text;
        std::getline(std::ifstream(command_line), text);
        return text.find("regroup-worker") == std::string::npos;
      },
      "the worker's end");
  EXPECT_THAT(Alive(), IsEmpty());
}

TEST_F(WorkerProgram, RefusesABadCommandLineWithStatusTwo) {
  for (const Flags& wrong :
       {Flags{{"--slots", "0"}}, Flags{{"--device", "tpu"}}, Flags{{"--id", "Upper"}}, Flags{{"--no-such-flag", ""}}}) {
    const int status = WaitForStatus(StartProgram(wrong));
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2) << wrong.begin()->first;
  }
}

TEST_F(WorkerProgram, RefusesMoreSlotsThanGpus) {
  const std::filesystem::path log = options_.work_folder / "refused.log";
  const pid_t pid = StartShell("exec " + CommandLine({{"--device", "cuda"}, {"--slots", "2"}}) + " 2> " + log.string());
  const int status = WaitForStatus(pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  std::string text;
  std::getline(std::ifstream(log), text);
  EXPECT_THAT(text, testing::HasSubstr("--slots 2: this worker may use 1 GPU,"));
}

TEST_F(WorkerProgram, RefusesACoordinatorElsewhereWithoutTls) {
  const int status = WaitForStatus(StartProgram({{"--coordinator", "192.0.2.1:7000"}}));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

}  // namespace
}  // namespace regroup
