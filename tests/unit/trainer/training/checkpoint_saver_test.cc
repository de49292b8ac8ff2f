// Tests checkpoints that are written while training continues. Run alone, and by mpirun with two ranks.
#include "trainer/training/checkpoint_saver.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "tests/unit/trainer/fixtures/regression.h"
#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class CheckpointSaverTest : public testing::Test {
 protected:
  static bool IsLast() { return World().rank() == World().size() - 1; }
  /// Returns the temporary name of this rank's file of `step`, in a folder that it creates.
  fs::path TemporaryName(int64_t step) const {
    const fs::path folder = TrainingCheckpointFolder(folder_, step);
    fs::create_directories(folder);
    return folder / fmt::format("rank-{:05}-of-{:05}.safetensors.{}.tmp", World().rank(), World().size(), getpid());
  }
  /// Reads from a pipe everything that a waiting writer writes, until the writer closes its end.
  static void Drain(const fs::path& pipe) {
    const int end = open(pipe.c_str(), O_RDONLY);
    char buffer[4096];
    while (read(end, buffer, sizeof buffer) > 0) {
    }
    close(end);
  }
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.insert(entry.path().filename());
    return names;
  }
  void SaveNow(CheckpointSaver& saver, int64_t step) {
    saver.Begin(step, model_.optimizer());
    ASSERT_TRUE(saver.Finish().ok());
    ASSERT_TRUE(World().Barrier().ok());
  }

  const fs::path folder_ = SharedFolder("saver");
  Regression model_{World()};
  CheckpointSaver saver_{folder_, World()};
};

TEST_F(CheckpointSaverTest, StepsTakenWhileItIsWrittenAreNotInTheCheckpoint) {
  for (int step = 0; step < 4; ++step) model_.Step(step);
  const at::Tensor then = model_.Weights();
  saver_.Begin(4, model_.optimizer());
  for (int step = 4; step < 8; ++step) model_.Step(step);
  ASSERT_TRUE(saver_.Finish().ok());
  ASSERT_TRUE(World().Barrier().ok());
  const at::Tensor straight = model_.Weights();
  ASSERT_FALSE(at::equal(straight, then));

  const auto found = *FindTrainingCheckpoint({folder_}, World());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->step, 4);
  EXPECT_EQ(found->ranks, World().size());
  ASSERT_TRUE(LoadTrainingCheckpoint(*found, model_.optimizer()).ok());
  EXPECT_TRUE(at::equal(model_.Weights(), then));
  for (int step = 4; step < 8; ++step) model_.Step(step);
  EXPECT_TRUE(at::equal(model_.Weights(), straight));
}

TEST_F(CheckpointSaverTest, KeepsMoreTensorsThanTheOptimizers) {
  at::Tensor more = at::full({3}, 0.1, at::kDouble);
  for (const int64_t step : {1, 2}) {
    saver_.Begin(step, model_.optimizer(), {{"more", more}});
    more.add_(1);
    ASSERT_TRUE(saver_.Finish().ok());
  }
  ASSERT_TRUE(World().Barrier().ok());
  const auto found = *FindTrainingCheckpoint({folder_}, World());
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(at::equal(LoadCheckpointTensor(*found, "more")->value(), at::full({3}, 1.1, at::kDouble)));
  EXPECT_FALSE(LoadCheckpointTensor(*found, "less")->has_value());
  EXPECT_TRUE(LoadTrainingCheckpoint(*found, model_.optimizer()).ok());
}

TEST_F(CheckpointSaverTest, ContinuingEndsWithTheSaveOnEveryRank) {
  saver_.Begin(1, model_.optimizer());
  EXPECT_EQ(saver_.step(), 1);
  std::optional<CheckpointSaver::Saved> saved;
  while (!saved.has_value()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto result = saver_.Continue();
    ASSERT_TRUE(result.ok()) << result.status();
    saved = *result;
  }
  EXPECT_EQ(saved->step, 1);
  EXPECT_GT(saved->seconds, 0);
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_EQ(ListTrainingCheckpoints({folder_}).size(), 1);
  EXPECT_FALSE(saver_.Finish()->has_value());
}

TEST_F(CheckpointSaverTest, WhatTheRanksHaveNotAgreedOnIsNoCheckpoint) {
  {
    CheckpointSaver abandoned(folder_, World());
    abandoned.Begin(1, model_.optimizer());
  }
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_FALSE(Names().empty());
  EXPECT_TRUE(ListTrainingCheckpoints({folder_}).empty());
}

TEST_F(CheckpointSaverTest, ARankWhoseDiskDoesNotAnswerHoldsTheManifestBackButNotTheTraining) {
  const fs::path pipe = TemporaryName(1);
  // Opening a pipe for writing waits for a reader.
  if (IsLast()) ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  saver_.Begin(1, model_.optimizer());
  for (int step = 1; step < 30; ++step) {
    model_.Step(step);
    const auto saved = saver_.Continue();
    ASSERT_TRUE(saved.ok()) << saved.status();
    EXPECT_FALSE(saved->has_value());
  }
  EXPECT_TRUE(ListTrainingCheckpoints({folder_}).empty());
  if (IsLast()) Drain(pipe);
}

TEST_F(CheckpointSaverTest, AFullDiskIsTheErrorOfItsRankAndLeavesNoCheckpoint) {
  const fs::path file = TemporaryName(1);
  if (IsLast()) fs::create_symlink("/dev/full", file);
  saver_.Begin(1, model_.optimizer());
  if (IsLast()) {
    const absl::Status status = saver_.Finish().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr(file.string()));
  }
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_TRUE(ListTrainingCheckpoints({folder_}).empty());
}

TEST_F(CheckpointSaverTest, KeepsTheLastTwoThatAreComplete) {
  for (int step = 1; step <= 2; ++step) SaveNow(saver_, step);
  if (World().rank() == 0) fs::create_directories(TrainingCheckpointFolder(folder_, 4));
  SaveNow(saver_, 3);
  EXPECT_EQ(Names(), (std::set<std::string>{"step-00000002", "step-00000003", "step-00000004"}));
}

}  // namespace
}  // namespace regroup
