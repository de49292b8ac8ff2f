#include "services/common/job_file/local_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/job_file/address.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class LocalPathsTest : public ::testing::Test {
 protected:
  LocalPathsTest() {
    spec_.mutable_source()->set_checkpoint("hf://org/model");
    spec_.mutable_calibration()->set_data("s3://bucket/texts/*.jsonl");
    spec_.mutable_finetune()->add_data_files("/data/train.jsonl");
    spec_.mutable_finetune()->add_data_files("s3://bucket/texts/*.jsonl");
    spec_.mutable_output()->set_checkpoint("/results/model");
  }

  v1::JobSpec Local() const { return WithLocalPaths(spec_, "/work/jobs/a", "/work/jobs/a/fetch/1/out"); }
  static std::string PathOf(const std::string& address) {
    return "/work/jobs/a/fetch/1/out/" + LocalName(*ParseAddress(address));
  }

  v1::JobSpec spec_;
};

TEST_F(LocalPathsTest, ReplaceEachAddressAndNoPath) {
  const v1::JobSpec local = Local();
  EXPECT_EQ(local.source().checkpoint(), PathOf("hf://org/model"));
  EXPECT_EQ(local.calibration().data(), PathOf("s3://bucket/texts/*.jsonl"));
  EXPECT_THAT(local.finetune().data_files(), ElementsAre("/data/train.jsonl", PathOf("s3://bucket/texts/*.jsonl")));
  EXPECT_EQ(local.output().checkpoint(), "/results/model");
}

TEST_F(LocalPathsTest, FetchEachAddressOnce) {
  EXPECT_THAT(AddressesToFetch(spec_), ElementsAre("hf://org/model", "s3://bucket/texts/*.jsonl"));
  spec_.mutable_output()->set_also("s3://bucket/result");
  EXPECT_THAT(AddressesToFetch(spec_), ElementsAre("hf://org/model", "s3://bucket/texts/*.jsonl"));
}

TEST_F(LocalPathsTest, PutAResultForABucketIntoTheJobsFolder) {
  EXPECT_THAT(AddressesToUpload(spec_), IsEmpty());
  EXPECT_EQ(LocalOutput(spec_, "/work/jobs/a"), "/results/model");
  spec_.mutable_output()->set_also("s3://bucket/also");
  EXPECT_THAT(AddressesToUpload(spec_), ElementsAre("s3://bucket/also"));
  EXPECT_EQ(LocalOutput(spec_, "/work/jobs/a"), "/results/model");
  spec_.mutable_output()->clear_also();
  spec_.mutable_output()->set_checkpoint("s3://bucket/result");
  EXPECT_THAT(AddressesToUpload(spec_), ElementsAre("s3://bucket/result"));
  EXPECT_EQ(LocalOutput(spec_, "/work/jobs/a"), "/work/jobs/a/result");
  EXPECT_EQ(Local().output().checkpoint(), "/work/jobs/a/result");
}

TEST_F(LocalPathsTest, LeadBackToTheirAddresses) {
  EXPECT_THAT(AddressesByPath(spec_, Local()),
              testing::UnorderedElementsAre(Pair(PathOf("hf://org/model"), "hf://org/model"),
                                            Pair(PathOf("s3://bucket/texts/*.jsonl"), "s3://bucket/texts/*.jsonl")));
}

}  // namespace
}  // namespace regroup
