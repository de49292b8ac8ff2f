#include "trainer/data/data_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/base/file_digest.h"
#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"
#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> NamesOf(const absl::StatusOr<std::vector<fs::path>>& files, const fs::path& folder) {
  EXPECT_TRUE(files.ok()) << files.status();
  std::vector<std::string> names;
  for (const fs::path& file : files.value_or(std::vector<fs::path>())) {
    names.push_back(file.lexically_relative(folder).string());
  }
  return names;
}

class DataFilesTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content = "{}\n") {
    fs::create_directories((folder_.path() / name).parent_path());
    return folder_.Write(name, content).string();
  }
  std::string Name(const std::string& name) const { return (folder_.path() / name).string(); }
  std::vector<std::string> Found(const std::string& name) { return NamesOf(DataFilesOf(Name(name)), folder_.path()); }
  std::string ErrorOf(const std::string& name, absl::StatusCode code) {
    const absl::Status status = DataFilesOf(Name(name)).status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  TemporaryFolder folder_;
};

TEST_F(DataFilesTest, TakeAFileAsNamed) {
  Write("x.parquet");
  EXPECT_THAT(Found("x.parquet"), ElementsAre("x.parquet"));
  EXPECT_THAT(Found("absent.jsonl"), ElementsAre("absent.jsonl")) << "opening it says what is wrong";
}

TEST_F(DataFilesTest, TakeTheDataFilesOfAFolderInTheOrderOfTheirNames) {
  for (const char* name : {"b.jsonl", "a.json", "c.jsonl.gz", "B.jsonl.zst", "d.ndjson", "e.json.gz", "README.md",
                           ".hidden.jsonl", "x.parquet", "deeper/f.jsonl"}) {
    Write(name);
  }
  EXPECT_THAT(Found(""),
              ElementsAre("B.jsonl.zst", "a.json", "b.jsonl", "c.jsonl.gz", "d.ndjson", "e.json.gz", "x.parquet"));
}

TEST_F(DataFilesTest, RefuseAFolderWithoutDataFiles) {
  Write("empty/README.md");
  EXPECT_THAT(ErrorOf("empty", absl::StatusCode::kInvalidArgument), HasSubstr("a folder without a file named *.jsonl"));
  Write("outer/inner/x.jsonl");
  EXPECT_THAT(ErrorOf("outer", absl::StatusCode::kInvalidArgument), HasSubstr("outer/*/*.jsonl"));
}

TEST_F(DataFilesTest, TakeTheFilesThatAPatternFits) {
  for (const char* name : {"c4/train.1.json.gz", "c4/train.0.json.gz", "c4/valid.0.json.gz", "c4/.train.2.json.gz",
                           "web/train.0.json.gz", "train.9.json.gz"}) {
    Write(name);
  }
  fs::create_directories(folder_.path() / "c4/train.folder");
  EXPECT_THAT(Found("c4/train.*"), ElementsAre("c4/train.0.json.gz", "c4/train.1.json.gz"));
  EXPECT_THAT(Found("*/train.[0-9].json.g?"),
              ElementsAre("c4/train.0.json.gz", "c4/train.1.json.gz", "web/train.0.json.gz"));
  EXPECT_THAT(Found("*/train.1.json.gz"), ElementsAre("c4/train.1.json.gz"));
}

TEST_F(DataFilesTest, TakeAFileWhoseNameLooksLikeAPattern) {
  Write("[1] *.jsonl");
  Write("1 x.jsonl");
  EXPECT_THAT(Found("[1] *.jsonl"), ElementsAre("[1] *.jsonl"));
}

TEST_F(DataFilesTest, RefusePatternsThatFitNothingOrMeanAnyDepth) {
  EXPECT_THAT(ErrorOf("x*.jsonl", absl::StatusCode::kNotFound), HasSubstr("no file fits the pattern"));
  EXPECT_THAT(ErrorOf("**/x.jsonl", absl::StatusCode::kInvalidArgument), HasSubstr("'**'"));
}

TEST_F(DataFilesTest, RefuseAFileThatIsNamedTwice) {
  const std::string file = Write("x.jsonl");
  const absl::Status status = FindDataFiles({file, folder_.path().string()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("x.jsonl is named twice"));
}

TEST_F(DataFilesTest, HaveADigestForEachName) {
  const std::string file = Write("x.jsonl", "{\"text\": \"x\"}\n");
  Write("folder/a.jsonl", "{\"text\": \"a\"}\n");
  Write("folder/b.jsonl", "{\"text\": \"b\"}\n");
  const auto data = FindDataFiles({Name("folder"), file});
  ASSERT_TRUE(data.ok()) << data.status();
  const std::string a = Sha256Of("{\"text\": \"a\"}\n"), b = Sha256Of("{\"text\": \"b\"}\n");
  const std::string x = Sha256Of("{\"text\": \"x\"}\n"), both = Sha256Of(a + "\n" + b + "\n");
  EXPECT_THAT(data->DigestsOfNames({a, b, x}), ElementsAre(both, x));
  EXPECT_EQ(*DataDigest(file), x);
  EXPECT_EQ(*DataDigest(Name("folder")), both);
  EXPECT_EQ(*DataDigest(Name("folder/*")), both);
}

TEST_F(DataFilesTest, ListNoFolderOutsideOfTheRoots) {
  Write("roots/data/x.jsonl");
  Write("secrets/password.jsonl");
  fs::create_directory_symlink(folder_.path() / "secrets", folder_.path() / "roots/link");
  SetInputRules({.roots = std::vector<fs::path>{folder_.path() / "roots"}});
  EXPECT_THAT(Found("roots/data"), ElementsAre("roots/data/x.jsonl"));
  for (const char* name : {"roots/link", "roots/link/*", "roots/*/pass*", "secrets/*"}) {
    EXPECT_THAT(ErrorOf(name, absl::StatusCode::kPermissionDenied), Not(HasSubstr("password"))) << name;
  }
  SetInputRules({});
}

TEST_F(DataFilesTest, EstimateTheirSize) {
  Write("folder/a.jsonl", std::string(1000, 'x'));
  Write("folder/b.jsonl.gz", std::string(1000, 'x'));
  EXPECT_GT(EstimateDataBytes({Name("folder")}), 3000);
  EXPECT_EQ(EstimateDataBytes({Name("folder/a.jsonl"), Name("absent")}), 1000);
}

}  // namespace
}  // namespace regroup
