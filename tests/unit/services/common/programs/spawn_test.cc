#include "services/common/programs/spawn.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "services/common/base/files.h"

namespace regroup {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

/// Runs a program to its end and returns its output.
std::string OutputOf(std::vector<std::string> arguments) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "spawn_test-output";
  std::filesystem::remove(file);
  const OwnedDescriptor output = OpenForAppending(file).value();
  const absl::StatusOr<pid_t> child =
      Spawn({.arguments = std::move(arguments), .output = output.number(), .error = output.number()});
  EXPECT_TRUE(child.ok()) << child.status();
  if (child.ok()) waitpid(*child, nullptr, 0);
  return ReadFile(file).value_or("");
}

TEST(Spawn, EverySignalDoesInTheChildWhatItDoesByDefault) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto handler = signal(SIGPIPE, SIG_IGN);
  const std::string masks = OutputOf({"/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"});
  signal(SIGPIPE, handler);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(masks, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(Spawn, TheChildInheritsTheEnvironmentAndNoDescriptor) {
  setenv("SPAWN_TEST", "seen", 1);
  const std::string text = OutputOf({"/bin/sh", "-c", "echo $SPAWN_TEST; ls /proc/self/fd | wc -l"});
  EXPECT_THAT(text, HasSubstr("seen\n"));
  // Standard input, output, error, and the folder that ls reads.
  EXPECT_THAT(text, EndsWith("\n4\n"));
}

TEST(Spawn, TheChildKeepsDescriptorsThatExecLeavesOpenIfItIsTold) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "spawn_test-kept";
  std::filesystem::remove(file);
  const OwnedDescriptor output = OpenForAppending(file).value();
  const OwnedDescriptor kept(fcntl(output.number(), F_DUPFD, 50));
  const pid_t child = Spawn({.arguments = {"/bin/sh", "-c", "test -e /proc/self/fd/" + std::to_string(kept.number())},
                             .output = output.number(),
                             .error = output.number(),
                             .inherits_descriptors = true})
                          .value();
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Spawn, AProgramThatIsMissingIsAnErrorEvenWithoutStandardStreams) {
  const pid_t without_streams = fork();
  if (without_streams == 0) {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) close(stream);
    const int output = open("/dev/null", O_WRONLY);
    _exit(Spawn({.arguments = {"/no/such/program"}, .output = output, .error = output}).ok() ? 1 : 0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(without_streams, &status, 0), without_streams);
  EXPECT_EQ(status, 0);
}

TEST(WaitForExits, ReturnsOnceAllHaveEnded) {
  const OwnedDescriptor output = OpenForAppending("/dev/null").value();
  std::vector<pid_t> children;
  for (const char* seconds : {"0.1", "0.2"}) {
    children.push_back(
        Spawn({.arguments = {"/bin/sleep", seconds}, .output = output.number(), .error = output.number()}).value());
  }
  WaitForExits(children, std::chrono::minutes(1));
  for (const pid_t child : children) EXPECT_EQ(waitpid(child, nullptr, WNOHANG), child);
  WaitForExits(children, std::chrono::minutes(1));
}

TEST(WaitForExits, WaitsNoLongerThanItMay) {
  const OwnedDescriptor output = OpenForAppending("/dev/null").value();
  const pid_t child =
      Spawn({.arguments = {"/bin/sleep", "100"}, .output = output.number(), .error = output.number()}).value();
  WaitForExits({child}, std::chrono::milliseconds(20));
  EXPECT_EQ(waitpid(child, nullptr, WNOHANG), 0);
  kill(child, SIGKILL);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace regroup
