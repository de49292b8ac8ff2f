#include "services/worker/attempt/runtime_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

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

TEST(RuntimeFolder, OneThatOthersCanEnterIsLeftAloneAndKeepsNobodyFromStarting) {
  TemporaryFolder base;
  const auto folder = MakeRuntimeFolder("0123456789ab", base.path().string());
  ASSERT_EQ(chmod(folder->c_str(), 0755), 0);
  const auto other = MakeRuntimeFolder("0123456789ab", base.path().string());
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->string(), folder->string() + "-1");
  EXPECT_EQ(ModeOf(*other), 0700);
  EXPECT_EQ(ModeOf(*folder), 0755);
}

TEST(RuntimeFolder, OneOfAnotherUserKeepsNobodyFromStarting) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can make a folder of another user";
  TemporaryFolder base;
  const auto folder = MakeRuntimeFolder("0123456789ab", base.path().string());
  ASSERT_EQ(chown(folder->c_str(), 65534, 65534), 0);
  const auto other = MakeRuntimeFolder("0123456789ab", base.path().string());
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(*other, *folder);
  // Its own folder, with the lock in it, is found again although the first name is free now.
  std::filesystem::remove(*folder);
  EXPECT_EQ(*MakeRuntimeFolder("0123456789ab", base.path().string()), *other);
}

TEST(RuntimeFolder, ALinkToElsewhereIsNotFollowed) {
  TemporaryFolder base;
  const auto folder = MakeRuntimeFolder("0123456789ab", base.path().string());
  std::filesystem::rename(*folder, base.path() / "elsewhere");
  std::filesystem::create_symlink(base.path() / "elsewhere", *folder);
  const auto other = MakeRuntimeFolder("0123456789ab", base.path().string());
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->string(), folder->string() + "-1");
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
