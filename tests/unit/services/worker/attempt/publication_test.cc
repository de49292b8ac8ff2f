#include "services/worker/attempt/publication.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "services/common/base/staging_folder.h"
#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

using testing::HasSubstr;

class PublicationTest : public testing::Test {
 protected:
  void Stage(const std::string& job, const std::string& note = "") { Write(staged_, job, note); }
  static void Write(const std::filesystem::path& folder, const std::string& job, const std::string& note = "") {
    std::filesystem::create_directories(folder / "regroup");
    std::ofstream(folder / "regroup" / "report.json") << ReportOf(job, note);
  }
  absl::Status PublishAs(const std::string& job) {
    v1::Publication publication;
    publication.set_staged(staged_.string());
    publication.set_published(published_.string());
    return Publish(publication, TaskFolder(job));
  }
  /// Leaves the report in the folder of an attempt, as the stage does.
  void Attempt(int epoch, const std::string& job, const std::string& note = "") {
    const std::filesystem::path out = TaskFolder(job) / std::to_string(epoch) / "out";
    std::filesystem::create_directories(out);
    std::ofstream(out / "report.json") << ReportOf(job, note);
  }
  std::filesystem::path TaskFolder(const std::string& job) const { return folder_.path() / "work" / job / "report"; }
  static std::string ReportOf(const std::string& job, const std::string& note = "") {
    return R"({"version": 1, "job": ")" + job + R"(", "note": ")" + note + "\"}";
  }

  TemporaryFolder folder_;
  const std::filesystem::path staged_ = folder_.path() / "staged";
  const std::filesystem::path published_ = folder_.path() / "published";
};

TEST_F(PublicationTest, RenamesTheStagedFolder) {
  Stage("demo-1");
  EXPECT_TRUE(PublishAs("demo-1").ok());
  EXPECT_TRUE(std::filesystem::exists(published_ / "regroup" / "report.json"));
  EXPECT_FALSE(std::filesystem::exists(staged_));
}

TEST_F(PublicationTest, PublishingTwiceIsDoneOnce) {
  Stage("demo-1", "first");
  Attempt(1, "demo-1", "first");
  ASSERT_TRUE(PublishAs("demo-1").ok());
  EXPECT_TRUE(PublishAs("demo-1").ok());
  Stage("demo-1", "second, with other times");
  Attempt(2, "demo-1", "second, with other times");
  EXPECT_TRUE(PublishAs("demo-1").ok());
  EXPECT_TRUE(std::filesystem::exists(published_ / "regroup" / "report.json")) << "the first result stays";
  EXPECT_FALSE(std::filesystem::exists(staged_)) << "nobody would find it beside the result";
}

TEST_F(PublicationTest, DoesNotBelieveAFolderThatOnlyClaimsToBeTheResult) {
  Attempt(1, "demo-1");
  const auto refuses = [&](const char* what) {
    Stage("demo-1");
    EXPECT_TRUE(absl::IsAlreadyExists(PublishAs("demo-1"))) << what;
    EXPECT_FALSE(std::filesystem::exists(staged_)) << what;
    std::filesystem::remove_all(published_);
  };
  Write(published_, "demo-1", "no model is here");
  refuses("a report that names the job");

  const std::filesystem::path own = TaskFolder("demo-1") / "1" / "out";
  std::filesystem::create_directories(published_ / "regroup");
  std::filesystem::create_symlink(own / "report.json", published_ / "regroup" / "report.json");
  refuses("a link to the report");

  std::filesystem::create_directories(published_);
  std::filesystem::create_symlink(own, published_ / "regroup");
  refuses("a link to its folder");

  std::filesystem::create_directories(published_ / "regroup");
  ASSERT_EQ(mkfifo((published_ / "regroup" / "report.json").c_str(), 0600), 0);
  refuses("a FIFO");
}

TEST_F(PublicationTest, NeverReplacesTheResultOfAnotherJob) {
  Stage("demo-1");
  ASSERT_TRUE(PublishAs("demo-1").ok());
  Stage("demo-2");
  const absl::Status status = PublishAs("demo-2");
  EXPECT_TRUE(absl::IsAlreadyExists(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("output.checkpoint"));
  EXPECT_EQ(PublicationFailure(status).failure_class(), v1::FAILURE_CLASS_USER);
  EXPECT_FALSE(std::filesystem::exists(staged_));
}

TEST_F(PublicationTest, AnEmptyFolderOfThatNameIsNotReplacedEither) {
  Stage("demo-1");
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
  RemoveStaged(assignment, folder_.path() / "work");
  EXPECT_TRUE(std::filesystem::exists(own)) << "only a report task stages a folder";
  assignment.set_kind(v1::TASK_KIND_REPORT);
  RemoveStaged(assignment, folder_.path() / "work");
  EXPECT_FALSE(std::filesystem::exists(own));
  EXPECT_TRUE(std::filesystem::exists(newer));
}

TEST_F(PublicationTest, RemovesWhatWasStagedForABucketFromTheJobsFolder) {
  v1::TaskAssignment assignment;
  assignment.mutable_spec()->mutable_output()->set_checkpoint("s3://bucket/model");
  assignment.mutable_attempt()->set_job("demo-1");
  assignment.mutable_attempt()->set_epoch(2);
  assignment.set_kind(v1::TASK_KIND_REPORT);
  const std::filesystem::path staged = folder_.path() / "work/jobs/demo-1/.result.regroup-demo-1-2";
  std::filesystem::create_directories(staged);
  RemoveStaged(assignment, folder_.path() / "work");
  EXPECT_FALSE(std::filesystem::exists(staged));
}

}  // namespace
}  // namespace regroup
