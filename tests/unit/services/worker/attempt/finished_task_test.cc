#include "services/worker/attempt/finished_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

class FinishedTaskTest : public testing::Test {
 protected:
  void Write(const fs::path& file) {
    fs::create_directories((folder_.path() / file).parent_path());
    std::ofstream(folder_.path() / file) << "text";
  }

  /// Returns the files below the task's folder, relative to it.
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(task_)) {
      if (!entry.is_directory()) files.push_back(entry.path().lexically_relative(task_).string());
    }
    return files;
  }

  TemporaryFolder folder_;
  const fs::path task_ = folder_.path() / "task";
};

TEST_F(FinishedTaskTest, KeepsAssignmentLogsAndCurvesOfEarlierAttempts) {
  for (const char* epoch : {"1", "2", "9", "10", "11"}) {
    for (const char* file :
         {"assignment.json", "logs/rank.0/stdout", "out/curves.jsonl", "out/layer-000.json", "out/model/config.json",
          "checkpoints/step-00000004/manifest.json", "stream-0", "targets"}) {
      Write(fs::path("task") / epoch / file);
    }
  }
  RemoveWorkOfFinishedTask(task_, 10);
  std::vector<std::string> expected;
  for (const char* epoch : {"1/", "2/", "9/", "10/", "11/"}) {
    for (const char* file : {"assignment.json", "logs/rank.0/stdout", "out/curves.jsonl"}) {
      expected.push_back(std::string(epoch) + file);
    }
  }
  for (const char* file :
       {"10/out/layer-000.json", "10/out/model/config.json", "10/stream-0", "10/targets", "11/out/layer-000.json",
        "11/out/model/config.json", "11/stream-0", "11/targets", "11/checkpoints/step-00000004/manifest.json"}) {
    expected.emplace_back(file);
  }
  EXPECT_THAT(Files(), testing::UnorderedElementsAreArray(expected));
}

TEST_F(FinishedTaskTest, RemovesLinksAndNotWhatTheyNameAndLeavesOtherFolders) {
  Write("outside/precious");
  Write("task/notes/text");
  fs::create_directories(task_ / "1");
  fs::create_directory_symlink(folder_.path() / "outside", task_ / "1/link");
  fs::create_directory_symlink(folder_.path() / "outside", task_ / "1/out");
  RemoveWorkOfFinishedTask(task_, 2);
  EXPECT_TRUE(fs::exists(folder_.path() / "outside/precious"));
  EXPECT_FALSE(fs::exists(fs::symlink_status(task_ / "1/link")));
  EXPECT_TRUE(fs::exists(task_ / "notes/text"));
}

TEST_F(FinishedTaskTest, NeedsNoFolder) { RemoveWorkOfFinishedTask(folder_.path() / "absent", 3); }

}  // namespace
}  // namespace regroup
