// Tests that damage to the log which a killed coordinator leaves is not taken for its end.
#include "coordinator/store/write_ahead_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "tests/unit/coordinator/store/damaged_store.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr int kFlips = 600;
constexpr int64_t kFirstFrame = 32;
constexpr int64_t kFrameHeader = 24;

/// The store's files as a kill leaves them: the log has not been moved into the file.
class KilledStoreTest : public StoreDamageTest {
 protected:
  void SetUp() override {
    const std::filesystem::path live_log = file_.string() + "-wal";
    const auto store = Fill();
    end_of_last_but_one_ = Size(live_log);
    Add(store.get(), "the-last");
    std::filesystem::create_directory(folder_ / "killed");
    for (const char* suffix : {"", "-wal"}) {
      std::filesystem::copy_file(file_.string() + suffix, killed_.string() + suffix);
    }
    ASSERT_GT(end_of_last_but_one_, 10'000);
    ASSERT_GT(Size(log_), end_of_last_but_one_);
  }

  static int64_t Size(const std::filesystem::path& file) {
    return static_cast<int64_t>(std::filesystem::file_size(file));
  }
  /// Copies the killed store, so that it can be opened without losing its log.
  std::filesystem::path Copy() {
    const std::filesystem::path folder = folder_ / "copy";
    std::filesystem::remove_all(folder);
    std::filesystem::copy(folder_ / "killed", folder);
    return folder / "regroup.db";
  }
  static size_t JobsOf(const std::filesystem::path& file) {
    const auto store = Open(file);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? (*store)->LoadUnfinished()->size() : 0;
  }

  const std::filesystem::path killed_ = folder_ / "killed/regroup.db";
  const std::filesystem::path log_ = folder_ / "killed/regroup.db-wal";
  int64_t end_of_last_but_one_ = 0;
};

TEST_F(KilledStoreTest, IsWhole) {
  EXPECT_FALSE(FindLogDamage(log_).value());
  EXPECT_EQ(JobsOf(Copy()), size_t{kJobs + 1});
}

TEST_F(KilledStoreTest, EveryFlippedBitBeforeTheLastCommitIsNoticed) {
  std::mt19937_64 random(1);
  for (int i = 0; i < kFlips; ++i) {
    // The header and the header of the first frame one by one.
    const int64_t bits = end_of_last_but_one_ * 8;
    const bool is_header = i < (kFirstFrame + kFrameHeader) * 8;
    const int64_t bit = is_header ? i : static_cast<int64_t>(random() % static_cast<uint64_t>(bits));
    Flip(log_, bit);
    EXPECT_TRUE(FindLogDamage(log_).value()) << "bit " << bit << " of " << bits;
    Flip(log_, bit);
  }
}

TEST_F(KilledStoreTest, IsRefusedWithTheWayOutAndStaysAsItIs) {
  Flip(log_, end_of_last_but_one_ * 4);
  const std::filesystem::path copy = Copy();
  const int64_t bytes = Size(log_);
  for (int attempt = 0; attempt < 2; ++attempt) {
    const absl::Status status = Open(copy).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("regroup.db-wal is damaged from byte"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("backup"));
    EXPECT_EQ(Size(copy.string() + "-wal"), bytes);
  }
  // Do what the message says.
  std::filesystem::resize_file(copy.string() + "-wal", static_cast<uintmax_t>(FindLogDamage(log_).value()->offset));
  const size_t jobs = JobsOf(copy);
  EXPECT_GT(jobs, 5u);
  EXPECT_LT(jobs, size_t{kJobs});
}

TEST_F(KilledStoreTest, AnUnfinishedCommitAtTheEndIsDropped) {
  const int64_t bytes = Size(log_);
  for (const int64_t end : {bytes - 1, bytes - 5000, end_of_last_but_one_ + 100}) {
    const std::filesystem::path copy = Copy();
    std::filesystem::resize_file(copy.string() + "-wal", static_cast<uintmax_t>(end));
    EXPECT_EQ(JobsOf(copy), size_t{kJobs}) << end;
  }
  // The frames of a commit may reach the disk in any order.
  Flip(log_, (end_of_last_but_one_ + 1000) * 8);
  EXPECT_EQ(JobsOf(Copy()), size_t{kJobs});
}

TEST_F(KilledStoreTest, FramesOfAnEarlierLogAreNotMissed) {
  // The file was moved into the store and starts anew: old frames with other salts follow the new ones.
  const std::filesystem::path copy = Copy();
  {
    auto connection = SqliteConnection::Open(copy).value();
    connection->KeepLog();
    ASSERT_TRUE(connection->Execute("PRAGMA wal_checkpoint(RESTART); DELETE FROM logs WHERE number = 1").ok());
  }
  ASSERT_EQ(Size(copy.string() + "-wal"), Size(log_));
  EXPECT_FALSE(FindLogDamage(copy.string() + "-wal").value());
  EXPECT_EQ(JobsOf(copy), size_t{kJobs + 1});
}

}  // namespace
}  // namespace regroup
