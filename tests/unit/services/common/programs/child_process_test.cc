#include "services/common/programs/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "services/common/base/files.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path LogFile(const std::string& name) {
  const fs::path log = fs::path(testing::TempDir()) / ("child_process_test-" + name + ".log");
  fs::remove(log);
  return log;
}

void AwaitEnd(ChildProcess& process) {
  while (!process.Ended()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

TEST(ChildProcess, WritesOutputAndErrorsToItsLog) {
  const fs::path log = LogFile("output");
  auto process = ChildProcess::Start("/bin/sh", {"-c", "echo out; echo err >&2; exit 3"}, log);
  ASSERT_TRUE(process.ok()) << process.status();
  AwaitEnd(*process);
  EXPECT_EQ(*process->Ended(), "exit status 3");
  EXPECT_EQ(*ReadFile(log), "out\nerr\n");
}

TEST(ChildProcess, LeadsItsOwnProcessGroup) {
  auto process = ChildProcess::Start("/bin/sleep", {"100"}, LogFile("group"));
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(getpgid(process->id()), process->id());
}

TEST(ChildProcess, AMissingProgramIsNamed) {
  const auto process = ChildProcess::Start("/no/such/program", {}, LogFile("missing"));
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(process.status().message()), HasSubstr("/no/such/program"));
}

TEST(ChildProcess, IsGoneAfterDestruction) {
  pid_t id = 0;
  {
    auto process = ChildProcess::Start("/bin/sleep", {"100"}, LogFile("destruction"));
    ASSERT_TRUE(process.ok());
    id = process->id();
  }
  EXPECT_EQ(kill(id, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcess, IsKilledWhenItDoesNotEndInTime) {
  auto process =
      ChildProcess::Start("/bin/sh", {"-c", "trap '' TERM; while :; do sleep 0.1; done"}, LogFile("stubborn"));
  ASSERT_TRUE(process.ok());
  process->Terminate();
  process->WaitOrKill(std::chrono::milliseconds(100));
  ASSERT_TRUE(process->Ended());
  EXPECT_THAT(*process->Ended(), HasSubstr("signal"));
}

TEST(RunToEnd, CollectsBothOutputsHoweverLong) {
  const auto output = RunToEnd("/bin/sh", {"-c", "head -c 300000 /dev/zero >&2; head -c 200000 /dev/zero; exit 7"});
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->exit_status, 7);
  EXPECT_EQ(output->standard_output.size(), 200'000U);
  EXPECT_EQ(output->standard_error.size(), 300'000U);
}

TEST(SiblingProgram, SaysWhatIsMissingAndWhere) {
  const auto program = SiblingProgram("regroup-nothing");
  EXPECT_EQ(program.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(program.status().message()), HasSubstr("regroup-nothing is not in the folder of"));
}

TEST(RunToEnd, EndsAProgramThatTakesTooLong) {
  const auto output = RunToEnd("/bin/sleep", {"1000"}, {.time = std::chrono::milliseconds(300)});
  EXPECT_EQ(output.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(std::string(output.status().message()), "sleep did not finish within 0.3 s and was ended");
}

TEST(RunToEnd, EndsAProgramThatNobodyWantsAnyMore) {
  int visits = 0;
  const auto output = RunToEnd("/bin/sleep", {"1000"}, {.is_wanted = [&visits] { return ++visits < 3; }});
  EXPECT_EQ(output.status().code(), absl::StatusCode::kCancelled);
}

TEST(RunToEnd, EndsAProgramThatWritesWithoutEnd) {
  EXPECT_EQ(RunToEnd("/usr/bin/yes", {}).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(RunToEnd, LimitsTheMemoryOfAProgram) {
  const std::vector<std::string> takes_memory = {"-c", "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c"};
  EXPECT_EQ(RunToEnd("/bin/sh", takes_memory)->standard_output, "200000000\n");
  const auto limited = RunToEnd("/bin/sh", takes_memory, {.memory = size_t{50} << 20});
  ASSERT_TRUE(limited.ok()) << limited.status();
  EXPECT_EQ(limited->standard_output, "0\n") << limited->standard_error;
}

}  // namespace
}  // namespace regroup
