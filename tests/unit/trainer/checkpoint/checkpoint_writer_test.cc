#include "trainer/checkpoint/checkpoint_writer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/checkpoint/checkpoint_folder.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;

std::vector<NamedTensor> Tensors(int count) {
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < count; ++i) tensors.emplace_back("t" + std::to_string(i), at::full({25}, i, at::kFloat));
  return tensors;
}

std::set<std::string> Names(const TemporaryFolder& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) names.insert(entry.path().filename());
  return names;
}

TEST(CheckpointWriterTest, WritesOneFileWhereAllFits) {
  TemporaryFolder folder;
  const auto written = WriteCheckpoint(folder.path(), GenerateFrom(Tensors(3)));
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(written->files, ElementsAre("model.safetensors"));
  EXPECT_EQ(written->total_bytes, 300u);
  EXPECT_EQ(Names(folder), std::set<std::string>{"model.safetensors"});
}

TEST(CheckpointWriterTest, WritesShardsAndAnIndexThatReadBack) {
  TemporaryFolder folder;
  folder.Write("config.json", "{}");
  const auto written = WriteCheckpoint(folder.path(), GenerateFrom(Tensors(5)), 200);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(written->files, ElementsAre("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                          "model-00003-of-00003.safetensors", "model.safetensors.index.json"));
  const auto checkpoint = CheckpointFolder::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const auto& [name, tensor] : Tensors(5)) EXPECT_TRUE(at::equal(*(*checkpoint)->Tensor(name), tensor));
}

TEST(CheckpointWriterTest, GivesATensorLargerThanAShardAShardOfItsOwn) {
  TemporaryFolder folder;
  const auto written = WriteCheckpoint(folder.path(), GenerateFrom(Tensors(2)), 10);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->files.size(), 3u);
}

TEST(CheckpointWriterTest, HoldsOneShardOfTensorsAtATime) {
  TemporaryFolder folder;
  std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> given;
  int alive_at_most = 0;
  const TensorGenerator generator = [&]() -> absl::StatusOr<std::optional<NamedTensor>> {
    int alive = 0;
    for (const auto& tensor : given) alive += !tensor.expired();
    alive_at_most = std::max(alive_at_most, alive);
    if (given.size() == 20) return std::nullopt;
    const at::Tensor tensor = at::ones({25});
    given.emplace_back(tensor.getIntrusivePtr());
    return NamedTensor("t" + std::to_string(given.size()), tensor);
  };
  ASSERT_TRUE(WriteCheckpoint(folder.path(), generator, 300).ok());
  EXPECT_LE(alive_at_most, 3);
}

TEST(CheckpointWriterTest, RemovesWhatItWroteWhenTheGeneratorFails) {
  TemporaryFolder folder;
  int calls = 0;
  const TensorGenerator generator = [&]() -> absl::StatusOr<std::optional<NamedTensor>> {
    if (++calls == 4) return absl::DataLossError("broken");
    return NamedTensor("t" + std::to_string(calls), at::ones({25}));
  };
  EXPECT_EQ(WriteCheckpoint(folder.path(), generator, 100).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Names(folder).empty());
}

TEST(CheckpointWriterTest, RefusesAFolderThatHasWeightsAndANameGivenTwice) {
  TemporaryFolder folder;
  const at::Tensor one = at::ones({25});
  EXPECT_EQ(WriteCheckpoint(folder.path(), GenerateFrom({{"t", one}, {"t", one}}), 100).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(WriteCheckpoint(folder.path(), GenerateFrom(Tensors(1))).ok());
  EXPECT_EQ(WriteCheckpoint(folder.path(), GenerateFrom(Tensors(1))).status().code(), absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace regroup
