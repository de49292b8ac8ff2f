// Tests that no damage of a SQLite store goes unnoticed: flipped bits, an empty file, a file that is gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "coordinator/store/sqlite_job_store.h"
#include "tests/unit/coordinator/store/damaged_store.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr int kFlips = 2000;

TEST_F(StoreDamageTest, EveryFlippedBitIsNoticed) {
  Fill();
  const int64_t bits = static_cast<int64_t>(std::filesystem::file_size(file_)) * 8;
  std::mt19937_64 random(1);
  int unnoticed = 0;
  for (int i = 0; i < kFlips; ++i) {
    // The header's fields first, one by one: they decide how the others are read.
    const int64_t bit = i < 800 ? i : static_cast<int64_t>(random() % static_cast<uint64_t>(bits));
    Flip(file_, bit);
    const auto opened = Open(file_);
    if (opened.ok()) ADD_FAILURE() << "bit " << bit << " of " << bits << " (" << ++unnoticed << ")";
    Flip(file_, bit);
    if (unnoticed > 20) return;
  }
  const auto whole = Open(file_);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ((*whole)->LoadUnfinished()->size(), size_t{kJobs});
}

TEST_F(StoreDamageTest, TheMessageTellsTheWayOut) {
  Fill();
  const int64_t bytes = static_cast<int64_t>(std::filesystem::file_size(file_));
  Flip(file_, (bytes / 4096 - 2) * 4096 * 8 + 4000);
  const absl::Status status = Open(file_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(file_.string()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("damaged"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("backup"));
}

TEST_F(StoreDamageTest, AFlippedBitIsNoticedWhileTheStoreIsInUse) {
  auto store = Fill();
  // More than the cache holds, so that pages are read again.
  for (int i = 0; i < 8; ++i) {
    Changes changes;
    for (int line = 0; line < 1000; ++line) {
      v1::LogEntry entry;
      entry.set_message(std::string(1000, 'm'));
      changes.logs.push_back({"job-1", entry});
    }
    ASSERT_TRUE(store->Commit(changes).ok());
  }
  const int64_t pages = static_cast<int64_t>(std::filesystem::file_size(file_)) / 4096;
  for (int64_t page = 1; page < pages; ++page) Flip(file_, page * 4096 * 8 + 777);
  absl::Status status = store->ReadLogs({.job = "job-1", .limit = 1000}).status();
  for (int i = 0; i < kJobs && status.ok(); ++i) {
    status = store->ReadLogs({.job = "job-" + std::to_string(i), .limit = 1000}).status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
}

TEST_F(StoreDamageTest, ABackupHasChecksumsToo) {
  Fill();
  const std::filesystem::path copy = folder_ / "copy.db";
  ASSERT_TRUE(Open(file_).value()->Backup(copy).ok());
  ASSERT_TRUE(Open(copy).ok());
  const int64_t bits = static_cast<int64_t>(std::filesystem::file_size(copy)) * 8;
  std::mt19937_64 random(2);
  for (int i = 0; i < 200; ++i) {
    const int64_t bit = static_cast<int64_t>(random() % static_cast<uint64_t>(bits));
    Flip(copy, bit);
    EXPECT_FALSE(Open(copy).ok()) << "bit " << bit;
    Flip(copy, bit);
  }
}

TEST_F(StoreDamageTest, AnEmptyFileIsNoNewStore) {
  std::ofstream(file_).close();
  const absl::Status status = Open(file_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("empty"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("backup"));
}

TEST_F(StoreDamageTest, ALogWithoutItsFileIsNoNewStore) {
  std::ofstream(file_.string() + "-wal") << std::string(5000, 'x');
  EXPECT_EQ(Open(file_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(StoreDamageTest, AStoreWithoutChecksumsGetsThem) {
  {
    auto connection = SqliteConnection::Open(file_, /*with_checksums=*/false).value();
    ASSERT_TRUE(connection->Execute("CREATE TABLE other (a); INSERT INTO other VALUES (zeroblob(20000))").ok());
    ASSERT_FALSE(connection->HasChecksums());
  }
  ASSERT_TRUE(Open(file_).ok());
  {
    auto connection = SqliteConnection::Open(file_).value();
    ASSERT_TRUE(connection->Execute("SELECT count(*) FROM jobs").ok());
    EXPECT_TRUE(connection->HasChecksums());
  }
  const int64_t bits = static_cast<int64_t>(std::filesystem::file_size(file_)) * 8;
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) {
    const int64_t bit = static_cast<int64_t>(random() % static_cast<uint64_t>(bits));
    Flip(file_, bit);
    EXPECT_FALSE(Open(file_).ok()) << "bit " << bit;
    Flip(file_, bit);
  }
}

}  // namespace
}  // namespace regroup
