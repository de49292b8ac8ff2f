// Tests checkpoints of a training. Run alone, and by mpirun with two ranks, which also changes the number of ranks.
#include "trainer/training/training_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "tests/unit/trainer/fixtures/regression.h"
#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

class TrainingCheckpointTest : public testing::Test {
 protected:
  /// Trains from step `from` to `to`, and saves after the last step.
  static void TrainAndSave(Regression& model, const fs::path& folder, Communicator& communicator, int from, int to) {
    for (int step = from; step < to; ++step) model.Step(step);
    ASSERT_TRUE(SaveTrainingCheckpoint(folder, to, model.optimizer(), communicator).ok());
    ASSERT_TRUE(communicator.Barrier().ok());
  }
  static std::optional<TrainingCheckpoint> Find(const std::vector<fs::path>& folders) {
    return FindTrainingCheckpoint(folders, World()).value();
  }
  static std::set<std::string> Names(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
    return names;
  }
  /// Changes one byte near the end of the file, keeping its size.
  static void Damage(const fs::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(-20, std::ios::end);
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(-20, std::ios::end);
    stream.put(byte);
  }

  const std::unique_ptr<Communicator> self_ = MakeSelfCommunicator();
  const fs::path folder_ = SharedFolder("checkpoints");
};

TEST_F(TrainingCheckpointTest, ARestoredTrainingContinuesBitByBit) {
  Regression straight(World()), restored(World());
  TrainAndSave(straight, folder_, World(), 0, 4);
  for (int step = 4; step < 8; ++step) straight.Step(step);

  const auto found = Find({folder_});
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->step, 4);
  EXPECT_EQ(found->ranks, World().size());
  restored.Step(99);
  ASSERT_TRUE(LoadTrainingCheckpoint(*found, restored.optimizer()).ok());
  for (int step = 4; step < 8; ++step) restored.Step(step);
  EXPECT_TRUE(at::equal(restored.Weights(), straight.Weights()));
}

TEST_F(TrainingCheckpointTest, GoesFromWholeGradientsToShardedOnesAndBack) {
  for (const bool sharded_first : {false, true}) {
    const fs::path folder = folder_ / (sharded_first ? "sharded" : "whole");
    Regression first(World(), at::kFloat, {.shard_gradients = sharded_first});
    Regression second(World(), at::kFloat, {.shard_gradients = !sharded_first});
    TrainAndSave(first, folder, World(), 0, 4);
    ASSERT_TRUE(LoadTrainingCheckpoint(*Find({folder}), second.optimizer()).ok());
    EXPECT_TRUE(at::equal(first.Weights(), second.Weights()));
    for (int step = 4; step < 8; ++step) {
      first.Step(step);
      second.Step(step);
    }
    EXPECT_LT((first.Weights() - second.Weights()).abs().max().item<double>(), 1e-6);
  }
}

TEST_F(TrainingCheckpointTest, GoesFromSeveralRanksToOne) {
  Regression together(World());
  TrainAndSave(together, folder_, World(), 0, 4);
  Regression alone(*self_);
  ASSERT_TRUE(LoadTrainingCheckpoint(*Find({folder_}), alone.optimizer()).ok());
  EXPECT_TRUE(at::equal(alone.Weights(), together.Weights()));
  for (int step = 4; step < 8; ++step) {
    together.Step(step);
    alone.Step(step);
  }
  EXPECT_LT((together.Weights() - alone.Weights()).abs().max().item<double>(), 1e-6);
}

TEST_F(TrainingCheckpointTest, GoesFromOneRankToSeveral) {
  Regression alone(*self_), together(World());
  if (World().rank() == 0) {
    TrainAndSave(alone, folder_, *self_, 0, 4);
  } else {
    for (int step = 0; step < 4; ++step) alone.Step(step);
  }
  ASSERT_TRUE(World().Barrier().ok());
  ASSERT_TRUE(LoadTrainingCheckpoint(*Find({folder_}), together.optimizer()).ok());
  for (int step = 4; step < 8; ++step) {
    together.Step(step);
    alone.Step(step);
  }
  EXPECT_LT((together.Weights() - alone.Weights()).abs().max().item<double>(), 1e-6);
}

TEST_F(TrainingCheckpointTest, TheStateDoesNotDependOnTheBuckets) {
  Regression large(World()), small(World(), at::kFloat, {.bucket_bytes = 64});
  TrainAndSave(large, folder_, World(), 0, 4);
  ASSERT_TRUE(LoadTrainingCheckpoint(*Find({folder_}), small.optimizer()).ok());
  EXPECT_TRUE(at::equal(small.Weights(), large.Weights()));
  const fs::path other = SharedFolder("small_buckets");
  TrainAndSave(small, other, World(), 4, 8);
  Regression alone(*self_);
  ASSERT_TRUE(LoadTrainingCheckpoint(*Find({other}), alone.optimizer()).ok());
  EXPECT_TRUE(at::equal(alone.Weights(), small.Weights()));
  for (int step = 4; step < 8; ++step) large.Step(step);
  EXPECT_LT((alone.Weights() - large.Weights()).abs().max().item<double>(), 1e-6);
}

TEST_F(TrainingCheckpointTest, DoesNotFindOneWhoseLastFileIsDamaged) {
  Regression model(World());
  TrainAndSave(model, folder_, World(), 0, 2);
  const auto found = Find({folder_});
  ASSERT_TRUE(found.has_value());
  std::string last;
  for (const std::string& name : Names(found->folder)) {
    if (name.ends_with(".safetensors")) last = name;
  }
  // Waits until every rank has found it intact.
  ASSERT_TRUE(World().Barrier().ok());
  if (World().rank() == 0) Damage(found->folder / last);
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_FALSE(Find({folder_}).has_value());
}

TEST_F(TrainingCheckpointTest, PassesOverADamagedOneForTheOneBefore) {
  Regression model(World());
  TrainAndSave(model, folder_, World(), 0, 1);
  TrainAndSave(model, folder_, World(), 1, 2);
  const fs::path newest = folder_ / "step-00000002";
  for (const std::string& name : Names(newest)) {
    if (World().rank() == 0 && name.ends_with(".safetensors")) Damage(newest / name);
  }
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_EQ(ListTrainingCheckpoints({folder_}).front().step, 2);
  ASSERT_TRUE(Find({folder_}).has_value());
  EXPECT_EQ(Find({folder_})->step, 1);
}

TEST_F(TrainingCheckpointTest, WithoutAManifestOrAWholeFileItDoesNotExist) {
  Regression model(World());
  TrainAndSave(model, folder_, World(), 0, 1);
  TrainAndSave(model, folder_, World(), 1, 2);
  if (World().rank() == 0) fs::remove(folder_ / "step-00000002" / "manifest.json");
  ASSERT_TRUE(World().Barrier().ok());
  ASSERT_TRUE(Find({folder_}).has_value());
  EXPECT_EQ(Find({folder_})->step, 1);
  ASSERT_TRUE(World().Barrier().ok());

  if (World().rank() == 0) {
    const std::string name = *Names(folder_ / "step-00000001").rbegin();
    fs::resize_file(folder_ / "step-00000001" / name, 100);
  }
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_FALSE(Find({folder_}).has_value());
}

TEST_F(TrainingCheckpointTest, AManifestThatIsNotJsonCountsAsMissing) {
  Regression model(World());
  TrainAndSave(model, folder_, World(), 0, 1);
  if (World().rank() == 0) std::ofstream(folder_ / "step-00000001" / "manifest.json") << "{\"format\": 1, \"fi";
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_FALSE(Find({folder_}).has_value());
}

TEST_F(TrainingCheckpointTest, KeepsTheLastTwo) {
  Regression model(World());
  for (int step = 0; step < 4; ++step) TrainAndSave(model, folder_, World(), step, step + 1);
  EXPECT_EQ(Names(folder_), (std::set<std::string>{"step-00000003", "step-00000004"}));
}

TEST_F(TrainingCheckpointTest, RemovesWhatManyEarlierAttemptsLeft) {
  const fs::path second = SharedFolder("second"), third = SharedFolder("third"), own = SharedFolder("own");
  Regression model(World());
  TrainAndSave(model, folder_, World(), 0, 1);
  TrainAndSave(model, folder_, World(), 1, 2);
  TrainAndSave(model, second, World(), 2, 3);
  TrainAndSave(model, third, World(), 3, 4);
  if (World().rank() == 0) fs::create_directories(second / "step-00000009");
  ASSERT_TRUE(World().Barrier().ok());
  const std::vector<fs::path> all = {folder_, second, third, own};
  const auto found = Find(all);
  ASSERT_EQ(found->step, 4);
  ASSERT_TRUE(World().Barrier().ok());
  if (World().rank() == 0) RemoveSuperseded(all, *found);
  ASSERT_TRUE(World().Barrier().ok());
  EXPECT_EQ(Names(folder_), std::set<std::string>());
  EXPECT_EQ(Names(second), std::set<std::string>{"step-00000003"});
  EXPECT_EQ(Names(third), std::set<std::string>{"step-00000004"});
}

TEST_F(TrainingCheckpointTest, FindsTheLatestOverSeveralAttempts) {
  const fs::path other = SharedFolder("other_attempt");
  Regression model(World());
  TrainAndSave(model, folder_, World(), 0, 3);
  TrainAndSave(model, other, World(), 3, 5);
  EXPECT_EQ(Find({folder_, other, folder_ / "missing"})->step, 5);
  EXPECT_FALSE(Find({folder_ / "missing"}).has_value());
}

}  // namespace
}  // namespace regroup
