#include "services/worker/worker_lock.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

TEST(WorkerLock, IsHeldByOneAndThenByTheNext) {
  TemporaryFolder folder;
  auto first = WorkerLock::Acquire(folder.path() / "lock", std::chrono::milliseconds(0));
  ASSERT_TRUE(first.ok());
  std::optional<WorkerLock> held(*std::move(first));
  EXPECT_TRUE(
      absl::IsAlreadyExists(WorkerLock::Acquire(folder.path() / "lock", std::chrono::milliseconds(0)).status()));
  held.reset();
  EXPECT_TRUE(WorkerLock::Acquire(folder.path() / "lock", std::chrono::milliseconds(0)).ok());
}

TEST(WorkerLock, ALockOnAFileThatWasRemovedCountsForNothing) {
  TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "lock";
  auto first = WorkerLock::Acquire(file, std::chrono::milliseconds(0));
  ASSERT_TRUE(first.ok());
  std::optional<WorkerLock> held(*std::move(first));
  std::thread ending([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::filesystem::remove(file);
    held.reset();
  });
  auto second = WorkerLock::Acquire(file, std::chrono::seconds(60));
  ending.join();
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(absl::IsAlreadyExists(WorkerLock::Acquire(file, std::chrono::milliseconds(0)).status()));
}

}  // namespace
}  // namespace regroup
