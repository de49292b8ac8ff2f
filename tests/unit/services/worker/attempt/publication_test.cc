#include "services/worker/attempt/publication.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "services/common/base/staging_folder.h"
#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

using testing::HasSubstr;

class PublicationTest : public testing::Test {
 protected:
  void Stage(const std::string& record, const std::string& job) {
    std::filesystem::create_directories(staged_ / "regroup");
    std::ofstream(staged_ / "regroup" / record) << R"({"version": 1, "job": ")" << job << R"("})";
  }
  absl::Status PublishAs(const std::string& job) {
    v1::Publication publication;
    publication.set_staged(staged_.string());
    publication.set_published(published_.string());
    return Publish(publication, job);
  }

  TemporaryFolder folder_;
  const std::filesystem::path staged_ = folder_.path() / "staged";
  const std::filesystem::path published_ = folder_.path() / "published";
};

TEST_F(PublicationTest, RenamesTheStagedFolder) {
  Stage("report.json", "demo-1");
  EXPECT_TRUE(PublishAs("demo-1").ok());
  EXPECT_TRUE(std::filesystem::exists(published_ / "regroup" / "report.json"));
  EXPECT_FALSE(std::filesystem::exists(staged_));
}

TEST_F(PublicationTest, PublishingTwiceIsDoneOnce) {
  Stage("report.json", "jobs/demo-1");
  ASSERT_TRUE(PublishAs("demo-1").ok());
  EXPECT_TRUE(PublishAs("demo-1").ok());
  Stage("job.json", "demo-1");
  EXPECT_TRUE(PublishAs("demo-1").ok());
  EXPECT_TRUE(std::filesystem::exists(published_ / "regroup" / "report.json")) << "the first result stays";
  EXPECT_FALSE(std::filesystem::exists(staged_)) << "nobody would find it beside the result";
}

TEST_F(PublicationTest, NeverReplacesTheResultOfAnotherJob) {
  Stage("report.json", "demo-1");
  ASSERT_TRUE(PublishAs("demo-1").ok());
  Stage("report.json", "demo-2");
  const absl::Status status = PublishAs("demo-2");
  EXPECT_TRUE(absl::IsAlreadyExists(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("output.checkpoint"));
  EXPECT_EQ(PublicationFailure(status).failure_class(), v1::FAILURE_CLASS_USER);
  EXPECT_FALSE(std::filesystem::exists(staged_));
}

TEST_F(PublicationTest, AnEmptyFolderOfThatNameIsNotReplacedEither) {
  Stage("report.json", "demo-1");
  std::filesystem::create_directories(published_);
  EXPECT_TRUE(absl::IsAlreadyExists(PublishAs("demo-1")));
}

TEST_F(PublicationTest, AMissingStagedFolderIsALossOfInfrastructure) {
  const absl::Status status = PublishAs("demo-1");
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(PublicationFailure(status).failure_class(), v1::FAILURE_CLASS_INFRA);
}

TEST_F(PublicationTest, StagesBesideAnOutputThatIsWrittenWithASlash) {
  const std::filesystem::path expected = folder_.path() / ".published.regroup-demo-1-2";
  EXPECT_EQ(StagingFolder(published_, "demo-1", 2), expected);
  EXPECT_EQ(StagingFolder(published_ / "", "demo-1", 2), expected);
}

TEST_F(PublicationTest, RemovesWhatAReportAttemptStagedAndNoOther) {
  v1::TaskAssignment assignment;
  assignment.mutable_spec()->mutable_output()->set_checkpoint(published_.string());
  assignment.mutable_attempt()->set_job("demo-1");
  assignment.mutable_attempt()->set_epoch(2);
  const std::filesystem::path own = folder_.path() / ".published.regroup-demo-1-2";
  const std::filesystem::path newer = folder_.path() / ".published.regroup-demo-1-3";
  std::filesystem::create_directories(own / "regroup");
  std::filesystem::create_directories(newer);

  assignment.set_kind(v1::TASK_KIND_EXPORT);
  RemoveStaged(assignment);
  EXPECT_TRUE(std::filesystem::exists(own)) << "only a report task stages a folder";
  assignment.set_kind(v1::TASK_KIND_REPORT);
  RemoveStaged(assignment);
  EXPECT_FALSE(std::filesystem::exists(own));
  EXPECT_TRUE(std::filesystem::exists(newer));
}

}  // namespace
}  // namespace regroup
