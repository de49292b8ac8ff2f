// Tests that Regroup accepts every job file in the repository.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "services/common/job_file/job_file.h"
#include "services/common/job_file/validate_job_spec.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> JobFiles() {
  const fs::path deploy = fs::path(REGROUP_SOURCE_FOLDER) / "deploy";
  std::vector<std::string> files = {(deploy / "demo" / "job.yaml").string()};
  for (const fs::directory_entry& entry : fs::directory_iterator(deploy / "examples")) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path().string());
  }
  return files;
}

class ExampleJobFile : public testing::TestWithParam<std::string> {};

TEST_P(ExampleJobFile, IsReadAndAccepted) {
  const auto file = ReadJobFile(GetParam());
  ASSERT_TRUE(file.ok()) << file.status();
  for (const FieldViolation& violation : ValidateJobSpec(file->spec)) {
    ADD_FAILURE() << DescribeViolation(*file, violation);
  }
}

INSTANTIATE_TEST_SUITE_P(, ExampleJobFile, testing::ValuesIn(JobFiles()));

TEST(ExampleJobFiles, ShowTheKindsOfConversionThatPeopleAskFor) { EXPECT_GE(JobFiles().size(), 6U); }

}  // namespace
}  // namespace regroup
