#include "trainer/data/parquet/checked_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "trainer/data/shuffled_order.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr size_t kBytes = 5 * CheckedFile::kChunkBytes / 2;

class CheckedFileTest : public ::testing::Test {
 protected:
  CheckedFileTest() {
    SplitMix64 random(1);
    for (size_t byte = 0; byte < kBytes; ++byte) content_ += static_cast<char>(random.Next());
    std::ofstream(path_, std::ios::binary) << content_;
    auto file = InputFile::Open(path_);
    EXPECT_TRUE(file.ok()) << file.status();
    stored_.emplace(*std::move(file));
  }

  CheckedFile Read() {
    auto file = CheckedFile::Read(*stored_);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "data";
  std::string content_;
  std::optional<StoredBytes> stored_;
};

TEST_F(CheckedFileTest, ReadsAnyPartAndKeepsTheDigestOfTheWhole) {
  CheckedFile file = Read();
  EXPECT_EQ(file.bytes(), kBytes);
  for (const auto& [offset, count] : std::vector<std::pair<size_t, size_t>>{{0, kBytes},
                                                                            {CheckedFile::kChunkBytes - 3, 7},
                                                                            {kBytes - 8, 8},
                                                                            {kBytes, 0},
                                                                            {1, 2 * CheckedFile::kChunkBytes}}) {
    std::string part(count, '\0');
    EXPECT_TRUE(file.ReadAt(offset, part.data(), count).ok());
    EXPECT_EQ(part, content_.substr(offset, count));
  }
  EXPECT_EQ(stored_->Digest().value(), Sha256Of(content_));
}

TEST_F(CheckedFileTest, RefusesWhatLiesBeyondTheEnd) {
  CheckedFile file = Read();
  char byte = 0;
  EXPECT_EQ(file.ReadAt(kBytes, &byte, 1).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(file.ReadAt(UINT64_MAX, &byte, 2).code(), absl::StatusCode::kOutOfRange);
}

TEST_F(CheckedFileTest, NoticesBytesThatChangedSinceTheyWereRead) {
  CheckedFile file = Read();
  std::fstream changed(path_, std::ios::binary | std::ios::in | std::ios::out);
  changed.seekp(CheckedFile::kChunkBytes + 5);
  changed.put(static_cast<char>(~content_[CheckedFile::kChunkBytes + 5]));
  changed.close();
  std::string part(16, '\0');
  EXPECT_TRUE(file.ReadAt(0, part.data(), part.size()).ok()) << "the first MiB is as it was";
  const absl::Status status = file.ReadAt(CheckedFile::kChunkBytes, part.data(), part.size());
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_.string() + " was changed while it was read"));
  std::filesystem::resize_file(path_, 2 * CheckedFile::kChunkBytes);
  EXPECT_EQ(file.ReadAt(kBytes - 1, part.data(), 1).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace regroup
