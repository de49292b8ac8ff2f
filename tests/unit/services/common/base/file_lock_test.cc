#include "services/common/base/file_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

namespace regroup {
namespace {

using std::chrono::milliseconds;
constexpr FileLockOptions kAtOnce{.patience = milliseconds(0)};

class FileLockTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(file_); }

  std::filesystem::path file_ = std::filesystem::path(testing::TempDir()) / "file_lock_test.lock";
};

TEST_F(FileLockTest, IsHeldByOneAtATime) {
  absl::StatusOr<FileLock> first = FileLock::Take(file_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(absl::IsAlreadyExists(FileLock::Take(file_, kAtOnce).status()));
  first = absl::UnknownError("released");
  EXPECT_TRUE(FileLock::Take(file_, kAtOnce).ok());
}

TEST_F(FileLockTest, MovesWithItsHolder) {
  absl::StatusOr<FileLock> first = FileLock::Take(file_);
  {
    const FileLock moved = *std::move(first);
    EXPECT_TRUE(absl::IsAlreadyExists(FileLock::Take(file_, kAtOnce).status()));
  }
  EXPECT_TRUE(FileLock::Take(file_, kAtOnce).ok());
}

TEST_F(FileLockTest, IsWaitedFor) {
  for (const std::optional<milliseconds> patience :
       {std::optional<milliseconds>(), std::optional(milliseconds(60'000))}) {
    std::optional<FileLock> first = *FileLock::Take(file_);
    std::thread releases([&first] {
      std::this_thread::sleep_for(milliseconds(20));
      first.reset();
    });
    EXPECT_TRUE(FileLock::Take(file_, {.patience = patience}).ok());
    releases.join();
  }
}

// Otherwise two processes could both believe that they hold the lock.
TEST_F(FileLockTest, IsThatOfTheNewFileWhereTheHolderRemovedTheOldOne) {
  std::optional<FileLock> first = *FileLock::Take(file_);
  absl::StatusOr<FileLock> second = absl::UnknownError("waits");
  std::thread waits([&] { second = FileLock::Take(file_); });
  std::this_thread::sleep_for(milliseconds(20));
  std::filesystem::remove(file_);
  first.reset();
  waits.join();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(absl::IsAlreadyExists(FileLock::Take(file_, kAtOnce).status()));
}

TEST_F(FileLockTest, IsClosedInStartedProgramsUnlessTheyInheritIt) {
  {
    const absl::StatusOr<FileLock> lock = FileLock::Take(file_);
    ASSERT_TRUE(lock.ok());
    EXPECT_NE(fcntl(lock->fd(), F_GETFD) & FD_CLOEXEC, 0);
  }
  const absl::StatusOr<FileLock> lock = FileLock::Take(file_, {.is_inherited = true});
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(fcntl(lock->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(FileLockTest, NeedsTheFolder) {
  EXPECT_TRUE(absl::IsNotFound(FileLock::Take(file_.parent_path() / "no-such-folder" / "lock", kAtOnce).status()));
}

}  // namespace
}  // namespace regroup
