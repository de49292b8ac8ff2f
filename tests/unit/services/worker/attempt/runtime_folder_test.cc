#include "services/worker/attempt/runtime_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

int ModeOf(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(stat(path.c_str(), &status), 0);
  return static_cast<int>(status.st_mode & 0777);
}

TEST(RuntimeFolder, IsPrivateAndFoundAgain) {
  TemporaryFolder base;
  const auto folder = MakeRuntimeFolder("0123456789ab", base.path().string());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->parent_path(), base.path());
  EXPECT_EQ(ModeOf(*folder), 0700);
  EXPECT_EQ(*MakeRuntimeFolder("0123456789ab", base.path().string()), *folder);
}

TEST(RuntimeFolder, OneThatOthersCanEnterIsRefused) {
  TemporaryFolder base;
  const auto folder = MakeRuntimeFolder("0123456789ab", base.path().string());
  ASSERT_EQ(chmod(folder->c_str(), 0755), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(MakeRuntimeFolder("0123456789ab", base.path().string()).status()));
}

TEST(RuntimeFolder, ALinkToElsewhereIsRefused) {
  TemporaryFolder base;
  const auto folder = MakeRuntimeFolder("0123456789ab", base.path().string());
  std::filesystem::rename(*folder, base.path() / "elsewhere");
  std::filesystem::create_symlink(base.path() / "elsewhere", *folder);
  EXPECT_TRUE(absl::IsPermissionDenied(MakeRuntimeFolder("0123456789ab", base.path().string()).status()));
}

TEST(RuntimeFolder, ABaseWhosePathIsTooLongForSocketsIsNotUsed) {
  TemporaryFolder base;
  const std::filesystem::path deep = base.path() / std::string(100, 'd');
  std::filesystem::create_directories(deep);
  const auto folder = MakeRuntimeFolder("fedcba987654", deep.string());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->parent_path(), "/tmp");
  std::filesystem::remove_all(*folder);
}

TEST(RuntimeFolder, EmptyingKeepsOnlyTheLock) {
  TemporaryFolder base;
  std::ofstream(base.path() / "lock") << "";
  std::ofstream(base.path() / "worker.sock") << "";
  std::filesystem::create_directories(base.path() / "t1" / "deep");
  EmptyRuntimeFolder(base.path(), base.path() / "lock");
  EXPECT_TRUE(std::filesystem::exists(base.path() / "lock"));
  EXPECT_FALSE(std::filesystem::exists(base.path() / "worker.sock"));
  EXPECT_FALSE(std::filesystem::exists(base.path() / "t1"));
}

TEST(RuntimeFolder, RemovingItLeavesNothing) {
  TemporaryFolder base;
  const auto folder = MakeRuntimeFolder("0123456789ab", base.path().string());
  std::ofstream(*folder / "lock") << "";
  std::ofstream(*folder / "worker.sock") << "";
  RemoveRuntimeFolder(*folder, *folder / "lock");
  EXPECT_TRUE(std::filesystem::is_empty(base.path()));
}

}  // namespace
}  // namespace regroup
