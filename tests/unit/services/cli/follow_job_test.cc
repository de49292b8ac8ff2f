#include "services/cli/follow_job.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "job_builder.h"

namespace regroup {
namespace {

using Writer = grpc::ServerWriter<v1::JobEvent>;

/// Answers the n-th WatchJob call with the n-th script; later calls are unavailable.
class FakeJobService final : public v1::JobService::Service {
 public:
  using Script = std::function<grpc::Status(const v1::WatchJobRequest&, grpc::ServerContext&, Writer&)>;

  explicit FakeJobService(std::vector<Script> scripts) : scripts_(std::move(scripts)) {}

  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request, Writer* writer) override {
    const size_t call = calls_.fetch_add(1);
    {
      const std::lock_guard lock(mutex_);
      tokens_.push_back(request->resume_token());
    }
    if (call >= scripts_.size()) return {grpc::StatusCode::UNAVAILABLE, "no more scripts"};
    return scripts_[call](*request, *context, *writer);
  }

  std::vector<std::string> tokens() {
    const std::lock_guard lock(mutex_);
    return tokens_;
  }

 private:
  std::vector<Script> scripts_;
  std::atomic<size_t> calls_ = 0;
  std::mutex mutex_;
  std::vector<std::string> tokens_;
};

/// A server on a free loopback port, and its client.
class FollowJobTest : public testing::Test {
 protected:
  void Serve(std::vector<FakeJobService::Script> scripts) {
    service_.emplace(std::move(scripts));
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&*service_);
    server_ = builder.BuildAndStart();
    auto client = Client::Open("127.0.0.1:" + std::to_string(port));
    ASSERT_TRUE(client.ok());
    client_.emplace(std::move(*client));
  }

  ~FollowJobTest() override {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
  }

  absl::StatusOr<v1::Job> Follow(const FollowOptions& options = {}) {
    return FollowJob(*client_, "jobs/llama-gqa2-abc", view_, options);
  }

  std::optional<FakeJobService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::optional<Client> client_;
  SilentProgress view_;
};

v1::JobEvent EventOf(v1::JobState state, int64_t revision) {
  v1::JobEvent event;
  *event.mutable_job() = HalfAlignedJob();
  event.mutable_job()->set_state(state);
  event.mutable_job()->set_revision(revision);
  event.set_resume_token("after-" + std::to_string(revision));
  return event;
}

grpc::Status WriteRunning(const v1::WatchJobRequest&, grpc::ServerContext&, Writer& writer) {
  writer.Write(EventOf(v1::JOB_STATE_RUNNING, 1));
  return {grpc::StatusCode::UNAVAILABLE, "restarting"};
}

grpc::Status WriteSucceeded(const v1::WatchJobRequest&, grpc::ServerContext&, Writer& writer) {
  writer.Write(EventOf(v1::JOB_STATE_SUCCEEDED, 2));
  return grpc::Status::OK;
}

TEST_F(FollowJobTest, ReturnsTheJobOnceItIsFinal) {
  Serve({WriteSucceeded});
  const auto job = Follow();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(job->tasks_size(), 4);
}

TEST_F(FollowJobTest, ContinuesWhereItWasAfterTheCoordinatorRestarted) {
  Serve({WriteRunning, WriteSucceeded});
  ASSERT_TRUE(Follow().ok());
  EXPECT_THAT(service_->tokens(), testing::ElementsAre("", "after-1"));
}

TEST_F(FollowJobTest, KeepsTheTasksThatAStreamThatContinuesDoesNotRepeat) {
  const auto write_last_task = [](const v1::WatchJobRequest&, grpc::ServerContext&, Writer& writer) {
    v1::JobEvent event = EventOf(v1::JOB_STATE_SUCCEEDED, 2);
    event.mutable_job()->mutable_tasks()->DeleteSubrange(0, 3);
    writer.Write(event);
    return grpc::Status::OK;
  };
  Serve({WriteRunning, write_last_task});
  const auto job = Follow();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->tasks_size(), 4);
}

TEST_F(FollowJobTest, ListsAgainWhenTheTokenIsTooOld) {
  const auto expired = [](const v1::WatchJobRequest&, grpc::ServerContext&, Writer&) {
    return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "too old");
  };
  Serve({WriteRunning, expired, WriteSucceeded});
  ASSERT_TRUE(Follow().ok());
  EXPECT_THAT(service_->tokens(), testing::ElementsAre("", "after-1", ""));
}

TEST_F(FollowJobTest, CountsASilentStreamAsHeardUntilItBreaks) {
  const auto stay_silent = [](const v1::WatchJobRequest&, grpc::ServerContext& context, Writer& writer) {
    context.AddInitialMetadata("regroup-stream", "open");
    writer.SendInitialMetadata();
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
  };
  Serve({WriteRunning, stay_silent, WriteSucceeded});
  const auto job = Follow({.patience = std::chrono::seconds(1)});
  ASSERT_TRUE(job.ok()) << job.status();
}

TEST_F(FollowJobTest, GivesUpWhenTheCoordinatorStaysAway) {
  Serve({WriteRunning});
  EXPECT_EQ(Follow({.patience = std::chrono::seconds(0)}).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(FollowJobTest, ARefusalEndsItAtOnce) {
  Serve({[](const v1::WatchJobRequest&, grpc::ServerContext&, Writer&) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such job");
  }});
  EXPECT_EQ(Follow().status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FollowJobTest, TheCallersTurnCanLeaveWhileTheStreamIsSilent) {
  Serve({[](const v1::WatchJobRequest&, grpc::ServerContext& context, Writer& writer) {
    writer.Write(EventOf(v1::JOB_STATE_RUNNING, 1));
    while (!context.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return grpc::Status::CANCELLED;
  }});
  const auto job = Follow({.on_turn = [](const v1::Job& job) {
    return job.name().empty() ? absl::OkStatus() : absl::CancelledError("enough");
  }});
  EXPECT_EQ(job.status(), absl::CancelledError("enough"));
}

}  // namespace
}  // namespace regroup
