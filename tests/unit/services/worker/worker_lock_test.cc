#include "services/worker/worker_lock.h"

#include <gtest/gtest.h>

#include <optional>

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

}  // namespace
}  // namespace regroup
