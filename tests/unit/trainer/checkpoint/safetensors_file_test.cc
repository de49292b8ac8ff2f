#include "trainer/checkpoint/safetensors_file.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "services/common/base/files.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/checkpoint/safetensors_writer.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const SafetensorsFile> OpenOrDie(const std::filesystem::path& path) {
  auto file = SafetensorsFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return *file;
}

TEST(SafetensorsFileTest, GivesBackEveryElementTypeAndShape) {
  TemporaryFolder folder;
  std::vector<NamedTensor> tensors;
  for (const auto type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
                          at::kFloat, at::kDouble}) {
    tensors.emplace_back(at::toString(type), at::randint(0, 2, {3, 5}).to(type));
  }
  tensors.emplace_back("scalar", at::scalar_tensor(2.5));
  tensors.emplace_back("empty", at::empty({0, 4}));
  ASSERT_TRUE(WriteSafetensors(folder.path() / "x.safetensors", tensors).ok());
  const auto file = OpenOrDie(folder.path() / "x.safetensors");
  EXPECT_EQ(file->entries().size(), tensors.size());
  EXPECT_EQ(file->metadata().at("format"), "pt");
  for (const auto& [name, tensor] : tensors) {
    const auto read = file->Tensor(name);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(*read, tensor)) << name;
  }
}

TEST(SafetensorsFileTest, WritesTensorsThatAreNotContiguous) {
  TemporaryFolder folder;
  const at::Tensor transposed = at::arange(12, at::kFloat).view({3, 4}).t();
  ASSERT_TRUE(WriteSafetensors(folder.path() / "x", {{"t", transposed}}).ok());
  EXPECT_TRUE(at::equal(*OpenOrDie(folder.path() / "x")->Tensor("t"), transposed));
}

TEST(SafetensorsFileTest, TellsOfAFileThatBecomesShorterWhileItIsRead) {
  TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, {{"t", at::arange(1 << 20, at::kFloat)}}).ok());
  const auto read_shortened = [&] {
    WatchMappedFiles([](const absl::Status& status) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      _exit(absl::IsDataLoss(status) ? 3 : 4);
    });
    const auto file = OpenOrDie(path);
    std::filesystem::resize_file(path, 4096);
    std::fprintf(stderr, "%f\n", file->Tensor("t")->sum().item<double>());
  };
  EXPECT_EXIT(read_shortened(), testing::ExitedWithCode(3), "x.safetensors became shorter while it was read");
}

TEST(SafetensorsFileTest, RefusesAFifoWithoutWaiting) {
  TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder.path() / "x").c_str(), 0600), 0);
  EXPECT_EQ(SafetensorsFile::Open(folder.path() / "x").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsFileTest, ViewsTheMappingAndOutlivesTheFileObject) {
  TemporaryFolder folder;
  ASSERT_TRUE(WriteSafetensors(folder.path() / "x", {{"t", at::arange(1000, at::kFloat)}}).ok());
  at::Tensor first, second;
  {
    const auto file = OpenOrDie(folder.path() / "x");
    first = *file->Tensor("t");
    second = *file->Tensor("t");
  }
  EXPECT_EQ(first.const_data_ptr(), second.const_data_ptr());
  second.reset();
  EXPECT_EQ(first[999].item<float>(), 999.0f);
}

TEST(SafetensorsFileTest, CopiesWhereTheBytesAreNotAligned) {
  TemporaryFolder folder;
  const std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                           R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  std::string content(8, '\0');
  content[0] = static_cast<char>(json.size());
  const float value = 1.5f;
  content += json + '\7' + std::string(reinterpret_cast<const char*>(&value), 4);
  const auto file = OpenOrDie(folder.Write("x", content));
  EXPECT_EQ(file->Tensor("b")->item<float>(), 1.5f);
  EXPECT_EQ(file->Tensor("a")->item<uint8_t>(), 7);
}

TEST(SafetensorsFileTest, NamesTheFileAndTheTensorInErrors) {
  TemporaryFolder folder;
  const auto missing = SafetensorsFile::Open(folder.path() / "no.safetensors");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("no.safetensors"));
  EXPECT_EQ(SafetensorsFile::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SafetensorsFile::Open(folder.Write("empty", "")).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(WriteSafetensors(folder.path() / "x", {{"t", at::ones({1})}}).ok());
  const auto tensor = OpenOrDie(folder.path() / "x")->Tensor("other");
  EXPECT_EQ(tensor.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tensor.status().message()), HasSubstr("\"other\""));
}

TEST(SafetensorsWriterTest, RefusesRepeatedNamesAndUnknownElementTypesAndLeavesNothingBehind) {
  TemporaryFolder folder;
  const at::Tensor one = at::ones({1});
  EXPECT_FALSE(WriteSafetensors(folder.path() / "x", {{"t", one}, {"t", one}}).ok());
  const absl::Status status = WriteSafetensors(folder.path() / "x", {{"c", one.to(at::kComplexFloat)}});
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"c\""));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SafetensorsWriterTest, ReplacesAnOlderFileAsAWhole) {
  TemporaryFolder folder;
  ASSERT_TRUE(WriteSafetensors(folder.path() / "x", {{"old", at::ones({100})}}).ok());
  ASSERT_TRUE(WriteSafetensors(folder.path() / "x", {{"new", at::ones({2})}}).ok());
  EXPECT_EQ(OpenOrDie(folder.path() / "x")->names(), std::vector<std::string>{"new"});
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace regroup
