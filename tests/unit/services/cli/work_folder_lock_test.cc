#include "services/cli/work_folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "services/common/programs/child_process.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path FreshFolder(const std::string& name) {
  const fs::path folder = fs::path(testing::TempDir()) / ("work_folder_lock_test-" + name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

TEST(WorkFolderLock, ASecondRunIsRefusedAndToldWhoHoldsTheFolder) {
  const fs::path folder = FreshFolder("second");
  const auto first = WorkFolderLock::Take(folder);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = WorkFolderLock::Take(folder);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("regroup (process " + std::to_string(getpid()) + ")"));
}

TEST(WorkFolderLock, IsFreeAgainAfterwards) {
  const fs::path folder = FreshFolder("again");
  { ASSERT_TRUE(WorkFolderLock::Take(folder).ok()); }
  EXPECT_TRUE(WorkFolderLock::Take(folder).ok());
}

TEST(WorkFolderLock, AProgramThatOutlivesItsRunStillHoldsTheFolder) {
  const fs::path folder = FreshFolder("outlives");
  std::optional<ChildProcess> coordinator;
  {
    auto lock = WorkFolderLock::Take(folder);
    ASSERT_TRUE(lock.ok());
    auto process = ChildProcess::Start("/bin/sleep", {"100"}, folder / "log");
    ASSERT_TRUE(process.ok());
    ASSERT_TRUE(lock->Name("regroup-coordinator", process->id()).ok());
    coordinator.emplace(std::move(*process));
  }
  const auto again = WorkFolderLock::Take(folder);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("regroup-coordinator (process "));
  coordinator.reset();
  EXPECT_TRUE(WorkFolderLock::Take(folder).ok());
}

}  // namespace
}  // namespace regroup
