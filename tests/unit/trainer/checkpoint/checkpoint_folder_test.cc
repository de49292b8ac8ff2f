#include "trainer/checkpoint/checkpoint_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/checkpoint/safetensors_writer.h"

namespace regroup {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ErrorOf(const std::filesystem::path& folder, absl::StatusCode code) {
  const auto opened = CheckpointFolder::Open(folder);
  EXPECT_EQ(opened.status().code(), code) << opened.status();
  return std::string(opened.status().message());
}

/// Writes element types too that Regroup does not write.
bool WriteSafetensorsOfAnyType(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
  SafetensorsHeader header;
  std::string bytes;
  for (const auto& [name, tensor] : tensors) {
    const auto dtype = tensor.scalar_type() == at::kFloat8_e4m3fn ? SafetensorsDtype::kF8E4M3 : SafetensorsDtype::kF32;
    const uint64_t begin = bytes.size();
    bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    header.entries.push_back({name, dtype, tensor.sizes().vec(), begin, bytes.size()});
  }
  std::ofstream file(path, std::ios::binary);
  file << FormatSafetensorsHeader(header) << bytes;
  return file.good();
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
  EXPECT_EQ(MainDtype((*checkpoint)->tensors()), SafetensorsDtype::kBF16);
  EXPECT_EQ(DtypeSummary((*checkpoint)->tensors()), "BF16 (1 tensor), F32 (1 tensor)");
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

TEST(CheckpointFolderTest, TheIndexOnlySaysWhichShardsThereAre) {
  TemporaryFolder folder;
  WriteShards(folder);
  for (const char* map : {R"({"a": "one.safetensors", "c": "one.safetensors", "b": "two.safetensors"})",
                          R"({"a": "one.safetensors", "c": "two.safetensors"})",
                          R"({"a": "./one.safetensors", "c": "././two.safetensors", "extra": "two.safetensors"})"}) {
    WriteIndex(folder, map);
    const auto checkpoint = CheckpointFolder::Open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    for (const char* name : {"a", "b", "c"}) EXPECT_TRUE((*checkpoint)->Tensor(name).ok()) << name;
    EXPECT_FALSE((*checkpoint)->Has("extra"));
  }
  EXPECT_THAT(std::string((*CheckpointFolder::Open(folder.path()))->Missing("extra").message()),
              HasSubstr("lists it in two.safetensors, which does not contain it"));
}

TEST(CheckpointFolderTest, RefusesAnIndexThatCannotBeFollowed) {
  TemporaryFolder folder;
  WriteShards(folder);
  WriteIndex(folder, R"({"a": "three.safetensors"})");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), HasSubstr("three.safetensors"));
  for (const char* file : {"../one.safetensors", "/one.safetensors", "a/../../one.safetensors", ".", ".."}) {
    WriteIndex(folder, fmt::format(R"({{"a": "{}"}})", file));
    EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kDataLoss), HasSubstr("same folder")) << file;
  }
  for (const char* map : {"[]", "{}"}) {
    WriteIndex(folder, map);
    EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kDataLoss), HasSubstr("weight_map"));
  }
}

TEST(CheckpointFolderTest, RefusesTwoTensorsOfTheSameName) {
  TemporaryFolder folder;
  WriteShards(folder);
  ASSERT_TRUE(WriteSafetensors(folder.path() / "two.safetensors", {{"module.a", at::zeros({3})}}).ok());
  WriteIndex(folder, R"({"a": "one.safetensors", "module.a": "two.safetensors"})");
  EXPECT_THAT(
      ErrorOf(folder.path(), absl::StatusCode::kDataLoss),
      AllOf(HasSubstr("one.safetensors holds tensor \"a\""), HasSubstr("two.safetensors"), HasSubstr("\"module.a\"")));
}

TEST(CheckpointFolderTest, SaysWhatIsMissing) {
  TemporaryFolder folder;
  EXPECT_THAT(ErrorOf(folder.path() / "none", absl::StatusCode::kNotFound), HasSubstr("none"));
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), HasSubstr("config.json"));
  EXPECT_THAT(ErrorOf(folder.Write("file", ""), absl::StatusCode::kInvalidArgument), HasSubstr("not a folder"));
  folder.Write("config.json", "{,");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kDataLoss), HasSubstr("config.json"));
  folder.Write("config.json", "{}");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), HasSubstr("model.safetensors"));
}

TEST(CheckpointFolderTest, SaysWhichFilesAreThereInstead) {
  TemporaryFolder folder;
  folder.Write("config.json", "{}");
  folder.Write("model.Q4.gguf", "GGUF");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), AllOf(HasSubstr("Q4.gguf"), HasSubstr("gguf_file")));
  folder.Write("consolidated.00.pth", "");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound), HasSubstr("consolidated.00.pth"));
}

TEST(CheckpointFolderTest, NamesTheRestsOfADownload) {
  TemporaryFolder folder;
  folder.Write("config.json", "{}");
  std::filesystem::create_symlink("../blobs/abc", folder.path() / "model.safetensors");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kNotFound),
              AllOf(HasSubstr("model.safetensors is a link to ../blobs/abc"), HasSubstr("download")));
  std::filesystem::remove(folder.path() / "model.safetensors");
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n";
  for (const char* name : {"pytorch_model.bin", "model.safetensors", "config.json"}) {
    folder.Write(name, pointer);
    EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kDataLoss), AllOf(HasSubstr(name), HasSubstr("git lfs pull")));
  }
}

TEST(CheckpointFolderTest, AnAdapterBesideTheModelIsNotIgnored) {
  TemporaryFolder folder;
  folder.Write("adapter_config.json", "{}");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr("adapter_config.json"), HasSubstr("merge it first")));
}

TEST(CheckpointFolderTest, AQuantisedModelIsNamedBeforeItsWeightsAreOpened) {
  TemporaryFolder folder;
  folder.Write("config.json", R"({"quantization_config": {"quant_method": "awq"}})");
  EXPECT_THAT(ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr((folder.path() / "config.json").string()), HasSubstr("'awq'")));
}

TEST(CheckpointFolderTest, ReadsEightBitFloatsByTheirScales) {
  TemporaryFolder folder;
  folder.Write("config.json", R"({"dtype": "float32", "quantization_config": {"quant_method": "fp8",
                                  "weight_block_size": [2, 3]}})");
  const at::Tensor weight = at::randn({4, 6}).to(at::kFloat8_e4m3fn);
  const at::Tensor scales = at::rand({2, 2});
  ASSERT_TRUE(WriteSafetensorsOfAnyType(folder.path() / "model.safetensors",
                                        {{"x.weight", weight}, {"x.weight_scale_inv", scales}, {"n", at::ones({2})}}));
  const auto checkpoint = CheckpointFolder::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_EQ((*checkpoint)->tensors().size(), 2u);
  EXPECT_EQ((*checkpoint)->Find("x.weight")->dtype, SafetensorsDtype::kF32);
  EXPECT_FALSE((*checkpoint)->Has("x.weight_scale_inv"));
  const at::Tensor read = *(*checkpoint)->Tensor("x.weight");
  for (int64_t row = 0; row < 4; ++row) {
    for (int64_t column = 0; column < 6; ++column) {
      EXPECT_EQ(read[row][column].item<float>(),
                weight[row][column].item<float>() * scales[row / 2][column / 3].item<float>());
    }
  }
  EXPECT_EQ((*checkpoint)->notes().size(), 1u);
}

/// Opens a folder with a weight, a scale for it, and a configuration.
std::string ErrorOfScale(const char* config, const char* scale, at::ScalarType weight) {
  TemporaryFolder folder;
  folder.Write("config.json", config);
  EXPECT_TRUE(WriteSafetensorsOfAnyType(folder.path() / "model.safetensors",
                                        {{"x.weight", at::ones({4, 6}).to(weight)}, {scale, at::ones({1})}}));
  return ErrorOf(folder.path(), absl::StatusCode::kInvalidArgument);
}

TEST(CheckpointFolderTest, ScalesThatTransformersTakesForSomethingElseAreRefused) {
  constexpr char kFp8[] = R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": null}})";
  EXPECT_THAT(ErrorOfScale("{}", "x.weight_scale_inv", at::kFloat8_e4m3fn),
              AllOf(HasSubstr("\"x.weight_scale_inv\""), HasSubstr("no quantization_config")));
  EXPECT_THAT(ErrorOfScale(kFp8, "x.weight_scale", at::kFloat8_e4m3fn),
              AllOf(HasSubstr("\"x.weight_scale\""), HasSubstr("Transformers ignores"), HasSubstr("dequantise")));
  EXPECT_THAT(ErrorOfScale(kFp8, "x.weight_scale_inv", at::kFloat),
              AllOf(HasSubstr("\"x.weight_scale_inv\""), HasSubstr("stored as F32")));
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

  absl::StatusOr<std::shared_ptr<const CheckpointFolder>> Reopen(Compared compared = Compared::kViews) const {
    return CheckpointFolder::Open(folder_.path(), std::make_shared<const CheckpointDigests>(digests_), compared);
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
  const auto checkpoint = Reopen(Compared::kCopies).value();
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
