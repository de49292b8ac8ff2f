// Tests the coordinator's housekeeping: files, old jobs, backups of the store, the audit log.
#include "services/common/base/files.h"
#include "services/common/base/staging_folder.h"
#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HousekeepingTest : public CoordinatorTest {
 protected:
  absl::StatusOr<v1::BackupStoreResponse> Backup(const std::string& name) {
    v1::BackupStoreRequest request;
    request.set_name(name);
    v1::BackupStoreResponse response;
    REGROUP_RETURN_IF_ERROR(Call(cluster_, &v1::ClusterService::StubInterface::BackupStore, request, &response));
    return response;
  }
  std::vector<std::string> AuditedMethods(const std::string& resource = "") {
    v1::ListAuditEntriesRequest request;
    request.set_resource(resource);
    request.set_page_size(1);
    std::vector<std::string> methods;
    do {
      v1::ListAuditEntriesResponse response;
      EXPECT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::ListAuditEntries, request, &response).ok());
      for (const v1::AuditEntry& entry : response.entries()) methods.push_back(entry.method());
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return methods;
  }
  /// Makes a job end as FAILED.
  void Fail(const std::string& id) {
    ASSERT_TRUE(Submit(Request(id)).ok());
    ASSERT_TRUE(Register(w1_).ok());
    ASSERT_TRUE(Report(w1_.Report(Acquire(w1_)->attempt(), FailureOf(v1::FAILURE_CLASS_USER))).ok());
    w1_.running.clear();
  }
};

TEST_F(HousekeepingTest, CopiesTheStoreWhileItIsInUse) {
  ASSERT_TRUE(Submit(Request("before")).ok());
  const auto backup = Backup("copy.db");
  ASSERT_TRUE(backup.ok()) << backup.status();
  ASSERT_TRUE(Submit(Request("after")).ok());
  EXPECT_GT(backup->bytes(), 0);
  EXPECT_EQ(backup->path(), (folder_ / "backups/copy.db").string());
  auto copy = SqliteJobStore::Open({.path = backup->path()});
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_TRUE((*copy)->GetJob("before").ok());
  EXPECT_FALSE((*copy)->GetJob("after").ok());
  EXPECT_EQ(Backup("copy.db").status().code(), absl::StatusCode::kAlreadyExists);
  for (const char* name : {"../copy.db", "a/b", ".hidden", "a b"}) {
    EXPECT_EQ(ReasonOf(Backup(name).status()), v1::INVALID_FIELD) << name;
  }
}

TEST_F(HousekeepingTest, ForgetsFinishedJobsAndTheirFilesAfterTheirTime) {
  Fail("old");
  ASSERT_TRUE(Submit(Request("unfinished")).ok());
  std::filesystem::create_directories(folder_ / "jobs/old/inspect/1");
  options_.keep_finished = std::chrono::milliseconds(1);
  Start();
  EXPECT_TRUE(Eventually([&] { return ReasonOf(Get("jobs/old").status()) == v1::RESOURCE_NOT_FOUND; }));
  EXPECT_TRUE(Eventually([&] { return !std::filesystem::exists(folder_ / "jobs/old"); }));
  EXPECT_TRUE(Get("jobs/unfinished").ok());
  EXPECT_THAT(AuditedMethods("jobs/old"), ElementsAre("JobService/DeleteJob", "JobService/SubmitJob"));
}

TEST_F(HousekeepingTest, RemovesTheStagedResultThatAKilledWorkerLeft) {
  v1::JobSpec spec = SmallSpec();
  const std::filesystem::path output = folder_ / "results/model";
  spec.mutable_output()->set_checkpoint(output);
  ASSERT_TRUE(Submit(Request("killed", spec)).ok());
  ASSERT_TRUE(Register(w1_).ok());
  for (int task = 0; task < 10; ++task) RunOne(w1_);
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  ASSERT_EQ(attempt.task(), "report");
  const auto staged = [&](const std::string& job, int64_t epoch) {
    const auto folder = StagingFolder(output, job, epoch);
    std::filesystem::create_directories(folder);
    return folder;
  };
  const auto left = staged("killed", attempt.epoch());
  const auto of_another_job = staged("killed-2", attempt.epoch());
  const auto of_a_later_epoch = staged("killed", attempt.epoch() + 1);
  ASSERT_TRUE(Cancel("jobs/killed").ok());
  EXPECT_TRUE(std::filesystem::exists(left)) << "its process may still run";
  // This is a new process of the worker: the old one was killed.
  ++w1_.incarnation;
  w1_.running.clear();
  ASSERT_TRUE(Register(w1_).ok());
  EXPECT_EQ(Get("jobs/killed")->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(Eventually([&] { return !std::filesystem::exists(left); }));
  EXPECT_TRUE(std::filesystem::exists(of_another_job));
  EXPECT_TRUE(std::filesystem::exists(of_a_later_epoch));
}

TEST_F(HousekeepingTest, WritesDownEveryChangeWithTheChange) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  v1::DrainWorkerRequest drain;
  drain.set_name("workers/w1");
  v1::Worker worker;
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::DrainWorker, drain, &worker).ok());
  ASSERT_TRUE(Pause("jobs/small-1").ok());
  ASSERT_TRUE(Resume("jobs/small-1").ok());
  ASSERT_TRUE(Cancel("jobs/small-1").ok());
  ASSERT_TRUE(Retry("jobs/small-1").ok());
  EXPECT_FALSE(Delete("jobs/small-1").ok());
  ASSERT_TRUE(Cancel("jobs/small-1").ok());
  ASSERT_TRUE(Delete("jobs/small-1").ok());
  EXPECT_THAT(AuditedMethods("jobs/small-1"),
              ElementsAre("JobService/DeleteJob", "JobService/CancelJob", "JobService/RetryJob", "JobService/CancelJob",
                          "JobService/ResumeJob", "JobService/PauseJob", "JobService/SubmitJob"));
  EXPECT_THAT(AuditedMethods("workers/w1"), ElementsAre("ClusterService/DrainWorker", "WorkerService/RegisterWorker"));
  v1::BackupStoreRequest backup;
  backup.set_name("copy.db");
  v1::BackupStoreResponse copied;
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::BackupStore, backup, &copied).ok());
  EXPECT_THAT(AuditedMethods("backups/copy.db"), ElementsAre("ClusterService/BackupStore"));
  Start();
  EXPECT_EQ(AuditedMethods().size(), 10u);
}

TEST_F(HousekeepingTest, WritesDownNothingThatTheStoreRefused) {
  store_->FailCommits(true);
  EXPECT_FALSE(Submit(Request("small-1")).ok());
  store_->FailCommits(false);
  EXPECT_THAT(AuditedMethods(), IsEmpty());
}

TEST_F(HousekeepingTest, TakesOnlyJobsWhosePathsAreAllowed) {
  options_.allowed_paths = {{folder_ / "data"}, {folder_ / "results"}};
  Start();
  const absl::Status status = Submit(Request("small-1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ReasonOf(status), v1::NOT_ALLOWED);
  std::vector<std::string> fields;
  for (const FieldViolation& violation : ViolationsOf(status)) fields.push_back(violation.field());
  EXPECT_THAT(fields,
              ElementsAre("source.checkpoint", "calibration.data", "output.checkpoint", "evaluation.perplexity.data"));
  EXPECT_THAT(std::string(status.message()), HasSubstr((folder_ / "results").string()));
}

}  // namespace
}  // namespace regroup
