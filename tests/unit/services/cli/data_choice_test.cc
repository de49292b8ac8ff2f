#include "services/cli/data_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class DataChoiceTest : public testing::Test {
 protected:
  DataChoiceTest() : folder_(fs::path(testing::TempDir()) / ("regroup-data-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
  }
  ~DataChoiceTest() override { fs::remove_all(folder_); }

  fs::path Write(const std::string& name) {
    std::ofstream(folder_ / name) << "{}\n";
    return folder_ / name;
  }

  const fs::path folder_;
};

TEST_F(DataChoiceTest, FilesNamedForValidationAreKeptForEvaluation) {
  const fs::path train = Write("train.jsonl"), more = Write("more.ndjson"), valid = Write("validation.jsonl");
  Write("test.jsonl");
  Write("notes.txt");
  const auto choice = ChooseData(folder_);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_THAT(choice->training, ElementsAre(more, train));
  EXPECT_THAT(choice->evaluation, ElementsAre(valid));
  EXPECT_EQ(choice->training_bytes, 6U);
}

TEST_F(DataChoiceTest, FilesNamedTestServeWhereNoneIsNamedForValidation) {
  const fs::path train = Write("a.parquet"), test = Write("test-00000.parquet");
  const auto choice = ChooseData(folder_);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_THAT(choice->training, ElementsAre(train));
  EXPECT_THAT(choice->evaluation, ElementsAre(test));
  EXPECT_EQ(choice->training_bytes, std::nullopt);
}

TEST_F(DataChoiceTest, AFolderWithoutThemIsTakenAsAWhole) {
  Write("a.jsonl.gz");
  Write("value.jsonl");
  const auto choice = ChooseData(folder_);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_THAT(choice->training, ElementsAre(folder_));
  EXPECT_THAT(choice->evaluation, IsEmpty());
}

TEST_F(DataChoiceTest, WhatCannotBeNamedInAJobFileIsRefused) {
  EXPECT_EQ(ChooseData(folder_ / "nothing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ChooseData(folder_).status().message(), HasSubstr("without a file named"));
  EXPECT_THAT(ChooseData(Write("a[1].jsonl")).status().message(), HasSubstr("pattern"));
  fs::remove(folder_ / "a[1].jsonl");
  Write("valid.jsonl");
  EXPECT_THAT(ChooseData(folder_).status().message(), HasSubstr("evaluation only"));
  for (int i = 0; i < 257; ++i) Write("train-" + std::to_string(i) + ".jsonl");
  EXPECT_THAT(ChooseData(folder_).status().message(), HasSubstr("more than 256"));
}

}  // namespace
}  // namespace regroup
