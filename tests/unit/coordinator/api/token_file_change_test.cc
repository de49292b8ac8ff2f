// Tests of a coordinator whose token file is missing, damaged, deleted or changed while it runs.
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

#include "coordinator/access/token_file.h"
#include "services/common/base/files.h"
#include "services/common/base/private_files.h"
#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class TokenFileChangeTest : public CoordinatorTest {
 protected:
  void SetUp() override {
    CoordinatorTest::SetUp();
    file_ = folder_ / "tokens";
    alice_ = AddToken(file_, "alice", Role::kSubmitter).value();
    admin_ = AddToken(file_, "admin", Role::kAdmin).value();
    node_ = AddToken(file_, w1_.id, Role::kWorker).value();
    options_.token_file = file_;
    options_.needs_tokens = true;
    Start();
  }

  static std::unique_ptr<grpc::ClientContext> ContextOf(const std::string& token) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + seconds(60));
    context->AddMetadata("authorization", "Bearer " + token);
    return context;
  }

  absl::Status ListAs(const std::string& token) {
    v1::ListJobsResponse response;
    return FromGrpc(jobs_->ListJobs(ContextOf(token).get(), {}, &response));
  }

  absl::Status SubmitAs(const std::string& token, const std::string& job) {
    v1::Job response;
    return FromGrpc(jobs_->SubmitJob(ContextOf(token).get(), Request(job), &response));
  }

  /// Opens a stream of the job's changes and returns its status once it ends; `meanwhile` runs when it is open.
  absl::Status WatchAs(const std::string& token, const std::string& job, const std::function<void()>& meanwhile) {
    const auto context = ContextOf(token);
    v1::WatchJobRequest request;
    request.set_name("jobs/" + job);
    const auto reader = jobs_->WatchJob(context.get(), request);
    v1::JobEvent event;
    if (reader->Read(&event)) meanwhile();
    while (reader->Read(&event)) continue;
    return FromGrpc(reader->Finish());
  }

  /// Registers w1, lets it wait for a task, acts meanwhile, and returns how the wait ended.
  absl::Status AcquireWhile(const std::function<void()>& act) {
    v1::RegisterWorkerResponse registered;
    v1::RegisterWorkerRequest registration = w1_.Registration();
    registration.set_version(REGROUP_VERSION);
    const absl::Status admitted = FromGrpc(workers_->RegisterWorker(ContextOf(node_).get(), registration, &registered));
    EXPECT_TRUE(admitted.ok()) << admitted;
    std::thread actor([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      act();
    });
    v1::AcquireTaskResponse response;
    const absl::Status status =
        FromGrpc(workers_->AcquireTask(ContextOf(node_).get(), w1_.Acquire(w1_.slots, seconds(50)), &response));
    actor.join();
    return status;
  }

  std::filesystem::path file_;
  std::string alice_;
  std::string admin_;
  std::string node_;
};

TEST_F(TokenFileChangeTest, RefusesToStartWithoutTheFileThatItWasGiven) {
  coordinator_.reset();
  std::filesystem::remove(file_);
  options_.state_folder = folder_ / "other";
  const auto started = Coordinator::Start(options_);
  ASSERT_EQ(started.status().code(), absl::StatusCode::kFailedPrecondition) << started.status();
  EXPECT_THAT(std::string(started.status().message()), HasSubstr(file_.string()));
  EXPECT_THAT(std::string(started.status().message()), HasSubstr("--tokens"));
}

TEST_F(TokenFileChangeTest, RefusesToStartWithAFileThatCannotBeRead) {
  coordinator_.reset();
  std::filesystem::remove(file_);
  std::filesystem::create_symlink(file_, file_);
  options_.state_folder = folder_ / "other";
  options_.needs_tokens = false;
  EXPECT_THAT(std::string(Coordinator::Start(options_).status().message()), HasSubstr(file_.string()));
}

TEST_F(TokenFileChangeTest, ADeletedFileRejectsEveryToken) {
  ASSERT_TRUE(ListAs(alice_).ok());
  std::filesystem::remove(file_);
  const absl::Status status = ListAs(alice_);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("token file"));
  EXPECT_EQ(ListAs("").code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(coordinator_->metrics().metrics().Text(), HasSubstr("regroup_tokens_readable 0"));
}

TEST_F(TokenFileChangeTest, ADamagedLineRejectsEveryTokenUntilItIsRepaired) {
  const std::string whole = ReadFile(file_).value();
  // An edit by hand that removes alice, with a slip of the pen.
  ASSERT_TRUE(RemoveToken(file_, "alice").ok());
  const std::string without_alice = ReadFile(file_).value();
  ASSERT_TRUE(WriteFileAtomically(file_, without_alice + "bob submitter\n").ok());
  EXPECT_FALSE(ListAs(alice_).ok());
  EXPECT_EQ(ListAs(admin_).code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(WriteFileAtomically(file_, whole).ok());
  EXPECT_TRUE(ListAs(alice_).ok());
  EXPECT_THAT(coordinator_->metrics().metrics().Text(), HasSubstr("regroup_tokens_readable 1"));
}

TEST_F(TokenFileChangeTest, AFileCutShortToNoTokenIsDamaged) {
  ASSERT_TRUE(WriteFileAtomically(file_, "# Who may call the coordinator\n").ok());
  EXPECT_EQ(ReasonOf(ListAs(alice_)), v1::TOKENS_UNREADABLE);
  EXPECT_THAT(coordinator_->metrics().metrics().Text(), HasSubstr("regroup_tokens_readable 0"));
  coordinator_.reset();
  options_.state_folder = folder_ / "other";
  EXPECT_THAT(std::string(Coordinator::Start(options_).status().message()), HasSubstr("holds no token"));
}

TEST_F(TokenFileChangeTest, AFifoIsRefusedAtOnceAndItsReplacementIsRead) {
  const std::string whole = ReadFile(file_).value();
  std::filesystem::remove(file_);
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);
  EXPECT_EQ(ReasonOf(ListAs(alice_)), v1::TOKENS_UNREADABLE);
  std::filesystem::remove(file_);
  ASSERT_TRUE(WriteFileAtomically(file_, whole).ok());
  EXPECT_TRUE(ListAs(alice_).ok());
}

TEST_F(TokenFileChangeTest, AFileThatMayBeReadAgainIsRead) {
  // Neither the content nor the time of its last change differ afterwards, as when root gives the file away (chown).
  struct stat before {};
  ASSERT_EQ(stat(file_.c_str(), &before), 0);
  const std::string whole = ReadFile(file_).value();
  ASSERT_TRUE(WritePrivateFile(file_, std::string(whole.size(), '?')).ok());
  EXPECT_EQ(ReasonOf(ListAs(alice_)), v1::TOKENS_UNREADABLE);
  struct stat damaged {};
  ASSERT_EQ(stat(file_.c_str(), &damaged), 0);
  {
    std::ofstream same_file(file_, std::ios::in);
    same_file << whole;
  }
  const timespec times[] = {damaged.st_atim, damaged.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, file_.c_str(), times, 0), 0);
  EXPECT_TRUE(ListAs(alice_).ok());
}

TEST_F(TokenFileChangeTest, ARemovedTokenEndsItsStream) {
  ASSERT_TRUE(SubmitAs(alice_, "a").ok());
  const absl::Status status = WatchAs(alice_, "a", [&] { ASSERT_TRUE(RemoveToken(file_, "alice").ok()); });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("removed"));
}

TEST_F(TokenFileChangeTest, ADeletedFileEndsAllStreams) {
  ASSERT_TRUE(SubmitAs(alice_, "a").ok());
  const absl::Status status = WatchAs(admin_, "a", [&] { std::filesystem::remove(file_); });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
}

TEST_F(TokenFileChangeTest, AStreamOfAnotherTokenGoesOn) {
  ASSERT_TRUE(SubmitAs(alice_, "a").ok());
  const absl::Status status = WatchAs(admin_, "a", [&] {
    EXPECT_EQ(WatchAs(alice_, "a", [&] { ASSERT_TRUE(RemoveToken(file_, "alice").ok()); }).code(),
              absl::StatusCode::kUnauthenticated);
    v1::CancelJobRequest request;
    request.set_name("jobs/a");
    v1::Job job;
    ASSERT_TRUE(jobs_->CancelJob(ContextOf(admin_).get(), request, &job).ok());
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(TokenFileChangeTest, ARemovedWorkerGetsNoTaskThatItWaitedFor) {
  const absl::Status status = AcquireWhile([&] { ASSERT_TRUE(RemoveToken(file_, w1_.id).ok()); });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
}

TEST_F(TokenFileChangeTest, AWorkerWhoseTokenIsBoundToAnotherGetsNoTaskThatItWaitedFor) {
  const absl::Status status = AcquireWhile([&] { ASSERT_TRUE(BindToken(file_, w1_.id, "another").ok()); });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
}

}  // namespace
}  // namespace regroup
