#include "trainer/checkpoint/checkpoint_folder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/checkpoint/safetensors_writer.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::filesystem::path& folder, absl::StatusCode code) {
  const auto opened = CheckpointFolder::Open(folder);
  EXPECT_EQ(opened.status().code(), code) << opened.status();
  return std::string(opened.status().message());
}

/// Writes two shards: a and b in the first, c in the second.
void WriteShards(const TemporaryFolder& folder) {
  folder.Write("config.json", R"({"model_type": "llama"})");
  ASSERT_TRUE(WriteSafetensors(folder.path() / "one.safetensors", {{"b", at::ones({2})}, {"a", at::zeros({3})}}).ok());
  ASSERT_TRUE(WriteSafetensors(folder.path() / "two.safetensors", {{"c", at::full({4}, 7.0)}}).ok());
}

void WriteIndex(const TemporaryFolder& folder, const std::string& map) {
  folder.Write("model.safetensors.index.json", R"({"metadata": {}, "weight_map": )" + map + "}");
}

TEST(CheckpointFolderTest, ReadsConfigAndTensorsOfOneFile) {
  TemporaryFolder folder;
  folder.Write("config.json", R"({"model_type": "llama"})");
  const at::Tensor weight = at::randn({3, 4}).to(at::kBFloat16);
  ASSERT_TRUE(WriteSafetensors(folder.path() / "model.safetensors", {{"w", weight}, {"n", at::ones({2})}}).ok());
  const auto checkpoint = CheckpointFolder::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config()["model_type"], "llama");
  ASSERT_EQ((*checkpoint)->tensors().size(), 2u);
  EXPECT_EQ((*checkpoint)->tensors()[0].name, "n");
  EXPECT_TRUE(at::equal(*(*checkpoint)->Tensor("w"), weight));
  EXPECT_EQ((*checkpoint)->MainDtype(), SafetensorsDtype::kBF16);
  EXPECT_EQ((*checkpoint)->DtypeSummary(), "BF16 (1 tensor), F32 (1 tensor)");
  EXPECT_EQ((*checkpoint)->TotalBytes(), 24u + 8u);
}

TEST(CheckpointFolderTest, ReadsShardsThroughTheIndex) {
  TemporaryFolder folder;
  WriteShards(folder);
  WriteIndex(folder, R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})");
  const auto checkpoint = CheckpointFolder::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->files().size(), 2u);
  EXPECT_TRUE((*checkpoint)->Has("a"));
  EXPECT_FALSE((*checkpoint)->Has("d"));
  EXPECT_EQ((*(*checkpoint)->Tensor("c"))[3].item<float>(), 7.0f);
  EXPECT_EQ((*checkpoint)->Tensor("d").status().code(), absl::StatusCode::kNotFound);
}

TEST(CheckpointFolderTest, RefusesAnIndexThatDoesNotAgreeWithItsShards) {
  TemporaryFolder folder;
  WriteShards(folder);
  WriteIndex(folder, R"({"a": "one.safetensors", "b": "one.safetensors", "c": "one.safetensors"})");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument), HasSubstr("\"c\""));
  WriteIndex(folder, R"({"a": "one.safetensors", "c": "two.safetensors"})");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument), HasSubstr("does not list"));
  WriteIndex(folder, R"({"a": "three.safetensors"})");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), HasSubstr("three.safetensors"));
  WriteIndex(folder, R"({"a": "../one.safetensors"})");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument), HasSubstr("same folder"));
  WriteIndex(folder, "[]");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument), HasSubstr("weight_map"));
}

TEST(CheckpointFolderTest, SaysWhatIsMissing) {
  TemporaryFolder folder;
  EXPECT_THAT(ErrorOf(folder.path() / "none", absl::StatusCode::kNotFound), HasSubstr("none"));
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), HasSubstr("config.json"));
  EXPECT_THAT(ErrorOf(folder.Write("file", ""), absl::StatusCode::kInvalidArgument), HasSubstr("not a folder"));
  folder.Write("config.json", "{,");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument), HasSubstr("config.json"));
  folder.Write("config.json", "{}");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), HasSubstr("model.safetensors"));
}

TEST(CheckpointFolderTest, NeverReadsAPickleAndSaysHowToConvertIt) {
  TemporaryFolder folder;
  folder.Write("config.json", "{}");
  folder.Write("pytorch_model.bin", "");
  const std::string error = ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(error, HasSubstr("pytorch_model.bin"));
  EXPECT_THAT(error, HasSubstr("safe_serialization"));
}

CheckpointDigests DigestsOf(const std::filesystem::path& folder, int threads = 1) {
  const auto checkpoint = CheckpointFolder::Open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return (*checkpoint)->Digests(threads);
}

std::string DigestOf(const std::filesystem::path& folder, int threads = 1) {
  return DigestOf(DigestsOf(folder, threads));
}

TEST(CheckpointFolderTest, DigestDependsOnContentAndNotOnShardsOrThreads) {
  TemporaryFolder shards, whole, other;
  WriteShards(shards);
  WriteIndex(shards, R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})");
  const std::vector<NamedTensor> tensors = {{"a", at::zeros({3})}, {"b", at::ones({2})}, {"c", at::full({4}, 7.0)}};
  whole.Write("config.json", R"({"model_type": "llama"})");
  ASSERT_TRUE(WriteSafetensors(whole.path() / "model.safetensors", tensors).ok());
  EXPECT_EQ(DigestOf(shards.path()), DigestOf(whole.path()));
  EXPECT_EQ(DigestOf(shards.path(), 3), DigestOf(shards.path(), 1));
  other.Write("config.json", R"({"model_type": "llama"})");
  ASSERT_TRUE(
      WriteSafetensors(other.path() / "model.safetensors", {tensors[0], tensors[1], {"c", at::full({4}, 7.5)}}).ok());
  EXPECT_NE(DigestOf(other.path()), DigestOf(whole.path()));
  const std::string before = DigestOf(whole.path());
  whole.Write("config.json", R"({"model_type": "gpt2"})");
  EXPECT_NE(DigestOf(whole.path()), before);
}

class ChangedCheckpointTest : public testing::Test {
 protected:
  static constexpr char kConfig[] = R"({"model_type": "llama"})";

  ChangedCheckpointTest() { Write(at::ones({2}), at::zeros({3})); }

  void Write(const at::Tensor& a, const at::Tensor& b) {
    folder_.Write("config.json", kConfig);
    // As someone would who replaces a file: the old one stays mapped where it is open.
    const std::filesystem::path next = folder_.path() / "next";
    EXPECT_TRUE(WriteSafetensors(next, {{"a", a}, {"b", b}}).ok());
    std::filesystem::rename(next, folder_.path() / "model.safetensors");
  }

  absl::StatusOr<std::shared_ptr<const CheckpointFolder>> Reopen() const {
    return CheckpointFolder::Open(folder_.path(), std::make_shared<const CheckpointDigests>(digests_));
  }

  TemporaryFolder folder_;
  CheckpointDigests digests_;
};

TEST_F(ChangedCheckpointTest, ATensorThatChangedIsNotHandedOut) {
  digests_ = DigestsOf(folder_.path());
  Write(at::ones({2}), at::full({3}, 0.5));
  const auto checkpoint = Reopen();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE((*checkpoint)->Tensor("a").ok());
  const absl::Status changed = (*checkpoint)->Tensor("b").status();
  EXPECT_EQ(changed.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(changed.message()), HasSubstr("model.safetensors: tensor \"b\" changed"));
}

TEST_F(ChangedCheckpointTest, TheSameBytesAsAnotherTypeOrShapeAreAChange) {
  digests_ = DigestsOf(folder_.path());
  Write(at::ones({2}).view(at::kInt), at::zeros({1, 3}));
  const auto checkpoint = Reopen();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->Tensor("a").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*checkpoint)->Tensor("b").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ChangedCheckpointTest, ATensorThatWasAddedIsAChange) {
  digests_ = DigestsOf(folder_.path());
  digests_.tensors.erase("a");
  EXPECT_EQ((*Reopen())->Tensor("a").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ChangedCheckpointTest, AConfigThatChangedDoesNotOpen) {
  digests_ = DigestsOf(folder_.path());
  folder_.Write("config.json", R"({"model_type": "gpt2"})");
  const absl::Status changed = Reopen().status();
  EXPECT_EQ(changed.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(changed.message()), HasSubstr("config.json changed"));
}

/// An owner who writes into the file at the moment of reading, and writes the old bytes back afterwards.
TEST_F(ChangedCheckpointTest, ACopyStaysWhatWasCompared) {
  digests_ = DigestsOf(folder_.path());
  digests_.are_for_copies = true;
  const auto checkpoint = Reopen().value();
  const at::Tensor a = checkpoint->Tensor("a").value();
  {
    std::fstream file(folder_.path() / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-20, std::ios::end);
    file << std::string(20, '?');
  }
  EXPECT_TRUE(at::equal(a, at::ones({2})));
  EXPECT_EQ(checkpoint->Tensor("a").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(checkpoint->Tensor("b").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ChangedCheckpointTest, WhatDidNotChangeOpens) {
  digests_ = DigestsOf(folder_.path());
  const auto checkpoint = Reopen();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE((*checkpoint)->Tensor("a").ok());
  EXPECT_TRUE((*checkpoint)->Tensor("b").ok());
}

}  // namespace
}  // namespace regroup
