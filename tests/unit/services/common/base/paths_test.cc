// Tests what the questions about paths answer where std::filesystem throws.
#include "services/common/base/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace regroup {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PathsTest : public ::testing::Test {
 protected:
  PathsTest() {
    std::string pattern = (fs::temp_directory_path() / "paths_XXXXXX").string();
    folder_ = fs::canonical(mkdtemp(pattern.data()));
    fs::create_symlink(folder_ / "loop", folder_ / "loop");
    fs::create_symlink("nowhere", folder_ / "dangling");
    std::ofstream(folder_ / "file") << "text";
  }
  ~PathsTest() override { fs::remove_all(folder_); }

  fs::path folder_;
  const std::string long_name_ = std::string(300, 'x');
};

TEST_F(PathsTest, ExistsWhatCanBeSeen) {
  EXPECT_TRUE(Exists(folder_ / "file"));
  for (const std::string& name : {std::string("none"), std::string("dangling"), std::string("loop"), long_name_}) {
    EXPECT_FALSE(Exists(folder_ / name)) << name;
  }
}

TEST_F(PathsTest, ANameIsTakenByLinksTooAndTheirLoopsAreErrors) {
  EXPECT_EQ(IsTaken(folder_ / "file").value(), true);
  EXPECT_EQ(IsTaken(folder_ / "dangling").value(), true);
  EXPECT_EQ(IsTaken(folder_ / "none").value(), false);
  EXPECT_EQ(IsTaken(folder_ / "file/below").value(), false);
  for (const fs::path& path : {folder_ / "loop/below", folder_ / long_name_}) {
    const absl::Status status = IsTaken(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path.string()));
  }
}

TEST_F(PathsTest, EntriesAreInOrder) {
  EXPECT_THAT(EntriesOf(folder_).value(), ElementsAre(folder_ / "dangling", folder_ / "file", folder_ / "loop"));
  EXPECT_EQ(EntriesOf(folder_ / "none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PathsTest, ADeletedCurrentFolderIsToldAndLeavesPathsAsTheyAre) {
  const fs::path before = fs::current_path();
  EXPECT_TRUE(CheckCurrentFolder().ok());
  EXPECT_EQ(Absolute("name"), before / "name");
  fs::create_directory(folder_ / "gone");
  fs::current_path(folder_ / "gone");
  ASSERT_EQ(rmdir((folder_ / "gone").c_str()), 0);
  EXPECT_EQ(Absolute("name"), "name");
  EXPECT_EQ(Absolute("/name"), "/name");
  const absl::Status status = CheckCurrentFolder();
  fs::current_path(before);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

}  // namespace
}  // namespace regroup
