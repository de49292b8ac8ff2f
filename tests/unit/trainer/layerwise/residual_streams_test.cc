#include "trainer/layerwise/residual_streams.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class ResidualStreamsTest : public testing::Test {
 protected:
  /// Writes random streams of 7 windows to files of their own by `parts` writers, and returns the files.
  std::vector<fs::path> WriteParts(int64_t parts) {
    at::manual_seed(4);
    streams_ = at::randn({7, 3, 5});
    std::vector<fs::path> files;
    for (int64_t part = 0; part < parts; ++part) {
      files.push_back(folder_.path() / std::to_string(part));
      StreamShape own = kShape;
      own.windows = WindowsInPart(7, part, parts);
      auto file = ResidualStreams::Create(files.back(), own);
      EXPECT_TRUE(file.ok()) << file.status();
      for (int64_t row = 0; row < own.windows; ++row) {
        EXPECT_TRUE(file->Write({row}, streams_.narrow(0, row * parts + part, 1)).ok());
      }
    }
    return files;
  }
  absl::Status OpenStatus(const std::vector<fs::path>& files) { return ResidualStreams::Open(files, kShape).status(); }

  static constexpr StreamShape kShape{.windows = 7, .tokens = 3, .hidden_size = 5};
  TemporaryFolder folder_;
  at::Tensor streams_;
};

TEST_F(ResidualStreamsTest, ReadsWhatOneOrMoreRanksWroteRoundedToBfloat16) {
  for (const int64_t parts : {1, 2, 3, 7}) {
    const auto streams = ResidualStreams::Open(WriteParts(parts), kShape);
    ASSERT_TRUE(streams.ok()) << streams.status();
    EXPECT_EQ(streams->shape().windows, 7);
    const at::Tensor rounded = streams_.to(at::kBFloat16);
    const std::vector<int64_t> some = {6, 0, 3};
    const at::Tensor read = *streams->Read(some, at::kFloat, at::kCPU);
    EXPECT_EQ(read.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(read, rounded.index_select(0, at::tensor(some)).to(at::kFloat))) << parts;
    EXPECT_TRUE(at::equal(*streams->Read({5}, at::kBFloat16, at::kCPU), rounded.narrow(0, 5, 1)));
  }
}

TEST_F(ResidualStreamsTest, CountsTheWindowsOfEachPart) {
  for (int64_t windows = 0; windows < 12; ++windows) {
    for (int64_t parts = 1; parts < 6; ++parts) {
      std::vector<int64_t> counted(parts);
      for (int64_t window = 0; window < windows; ++window) ++counted[window % parts];
      for (int64_t part = 0; part < parts; ++part) EXPECT_EQ(WindowsInPart(windows, part, parts), counted[part]);
    }
  }
}

TEST_F(ResidualStreamsTest, AWriterReadsItsOwnStreams) {
  auto streams = ResidualStreams::Create(folder_.path() / "own", {.windows = 2, .tokens = 2, .hidden_size = 2});
  ASSERT_TRUE(streams.ok()) << streams.status();
  EXPECT_EQ(fs::file_size(folder_.path() / "own"), 2U * 2 * 2 * 2);
  ASSERT_TRUE(streams->Write({1, 0}, at::arange(8, at::kFloat).view({2, 2, 2})).ok());
  EXPECT_TRUE(at::equal(streams->Read({0, 1}, at::kFloat, at::kCPU)->flatten(),
                        at::tensor({4.0F, 5.0F, 6.0F, 7.0F, 0.0F, 1.0F, 2.0F, 3.0F})));
}

TEST_F(ResidualStreamsTest, CreatingAFileAgainForgetsTheOldOne) {
  const fs::path file = folder_.path() / "again";
  ASSERT_TRUE(ResidualStreams::Create(file, {.windows = 5, .tokens = 3, .hidden_size = 2}).ok());
  const auto streams = ResidualStreams::Create(file, {.windows = 1, .tokens = 3, .hidden_size = 2});
  ASSERT_TRUE(streams.ok()) << streams.status();
  EXPECT_EQ(fs::file_size(file), 12U);
}

TEST_F(ResidualStreamsTest, AFileOfAnotherSizeIsDataLossThatNamesIt) {
  const std::vector<fs::path> files = WriteParts(2);
  fs::resize_file(files[1], fs::file_size(files[1]) - 2);
  const absl::Status status = OpenStatus(files);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(files[1].string()), HasSubstr("88 bytes instead of 90")));
}

TEST_F(ResidualStreamsTest, AFileThatBecomesShorterIsDataLossWhereItIsRead) {
  const std::vector<fs::path> files = WriteParts(2);
  const auto streams = ResidualStreams::Open(files, kShape);
  ASSERT_TRUE(streams.ok()) << streams.status();
  fs::resize_file(files[1], 40);
  EXPECT_TRUE(streams->Read({0, 1}, at::kFloat, at::kCPU).ok());
  const absl::Status status = streams->Read({0, 3}, at::kFloat, at::kCPU).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(files[1].string()), HasSubstr("ends at byte 40")));
}

TEST_F(ResidualStreamsTest, AMissingFileIsNotFoundAndNamed) {
  const std::vector<fs::path> files = WriteParts(3);
  fs::remove(files[2]);
  const absl::Status status = OpenStatus(files);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(files[2].string()));
}

TEST_F(ResidualStreamsTest, AFolderThatIsMissingIsNamedWhereAFileIsCreated) {
  const absl::Status status = ResidualStreams::Create(folder_.path() / "none" / "file", kShape).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr((folder_.path() / "none" / "file").string()));
}

TEST_F(ResidualStreamsTest, ARankWithoutWindowsHasAnEmptyFile) {
  const StreamShape two{.windows = 2, .tokens = 3, .hidden_size = 5};
  std::vector<fs::path> files;
  for (int64_t part = 0; part < 3; ++part) {
    files.push_back(folder_.path() / std::to_string(part));
    StreamShape own = two;
    own.windows = WindowsInPart(2, part, 3);
    auto file = ResidualStreams::Create(files.back(), own);
    ASSERT_TRUE(file.ok()) << file.status();
    if (own.windows > 0) {
      EXPECT_TRUE(file->Write({0}, at::full({1, 3, 5}, static_cast<double>(part))).ok());
    }
  }
  EXPECT_EQ(fs::file_size(files[2]), 0U);
  const auto streams = ResidualStreams::Open(files, two);
  ASSERT_TRUE(streams.ok()) << streams.status();
  EXPECT_EQ(streams->Read({1}, at::kFloat, at::kCPU)->min().item<double>(), 1.0);
}

}  // namespace
}  // namespace regroup
