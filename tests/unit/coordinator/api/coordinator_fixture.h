// The fixture of API tests: a coordinator on loopback with a real store in a folder, and a worker that is simulated by
// calls.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "coordinator/api/coordinator.h"
#include "coordinator/store/sqlite_job_store.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/status.h"
#include "tests/unit/coordinator/api/faulty_job_store.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {

class CoordinatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "coordinator_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    Start();
  }
  void TearDown() override {
    coordinator_.reset();
    std::filesystem::remove_all(folder_);
  }

  /// Starts with the contents of the folder; a second start is like one after a crash.
  void Start() {
    coordinator_.reset();
    auto store = SqliteJobStore::Open({.path = folder_ / "state" / "regroup.db"});
    ASSERT_TRUE(store.ok()) << store.status();
    auto faulty = std::make_unique<FaultyJobStore>(*std::move(store));
    store_ = faulty.get();
    options_.listen = "127.0.0.1:0";
    options_.metrics_listen = "";
    options_.work_folder = folder_;
    options_.backup_folder = folder_ / "backups";
    auto started = Coordinator::Start(options_, std::move(faulty));
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    const auto channel = OpenChannel(coordinator_->address()).value();
    jobs_ = v1::JobService::NewStub(channel);
    workers_ = v1::WorkerService::NewStub(channel);
    cluster_ = v1::ClusterService::NewStub(channel);
  }

  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Stub& stub,
                    grpc::Status (Stub::element_type::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return FromGrpc((stub.get()->*method)(&context, request, response));
  }

  /// Waits for work that happens outside the calls.
  template <typename Condition>
  static bool Eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return condition();
  }
  // Calls of users.

  absl::StatusOr<v1::Job> Submit(const v1::SubmitJobRequest& request) {
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::SubmitJob, request, &job));
    return job;
  }
  static v1::SubmitJobRequest Request(const std::string& job_id, const v1::JobSpec& spec = SmallSpec()) {
    v1::SubmitJobRequest request;
    request.set_job_id(job_id);
    *request.mutable_spec() = spec;
    return request;
  }
  absl::StatusOr<v1::Job> Get(const std::string& name) {
    v1::GetJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::GetJob, request, &job));
    return job;
  }
  absl::StatusOr<v1::Job> Cancel(const std::string& name) {
    v1::CancelJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::CancelJob, request, &job));
    return job;
  }
  absl::StatusOr<v1::Job> Pause(const std::string& name) {
    v1::PauseJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::PauseJob, request, &job));
    return job;
  }
  absl::StatusOr<v1::Job> Resume(const std::string& name) {
    v1::ResumeJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::ResumeJob, request, &job));
    return job;
  }
  absl::StatusOr<v1::Job> Retry(const std::string& name) {
    v1::RetryJobRequest request;
    request.set_name(name);
    v1::Job job;
    REGROUP_RETURN_IF_ERROR(Call(jobs_, &v1::JobService::StubInterface::RetryJob, request, &job));
    return job;
  }
  absl::Status Delete(const std::string& name) {
    v1::DeleteJobRequest request;
    request.set_name(name);
    google::protobuf::Empty response;
    return Call(jobs_, &v1::JobService::StubInterface::DeleteJob, request, &response);
  }
  std::vector<v1::JobEvent> WatchToTheEnd(const std::string& name, const std::string& token = "") {
    v1::WatchJobRequest request;
    request.set_name(name);
    request.set_resume_token(token);
    return ReadAll<v1::JobEvent>([&](grpc::ClientContext* context) { return jobs_->WatchJob(context, request); });
  }
  template <typename Message, typename Open>
  std::vector<Message> ReadAll(Open open) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const auto reader = open(&context);
    std::vector<Message> messages;
    Message message;
    while (reader->Read(&message)) messages.push_back(message);
    stream_status_ = FromGrpc(reader->Finish());
    return messages;
  }

  // Calls of workers.

  absl::Status Register(const FakeWorker& worker, v1::RegisterWorkerResponse* response = nullptr) {
    v1::RegisterWorkerRequest request = worker.Registration();
    request.set_version(REGROUP_VERSION);
    v1::RegisterWorkerResponse ignored;
    return Call(workers_, &v1::WorkerService::StubInterface::RegisterWorker, request,
                response != nullptr ? response : &ignored);
  }
  std::optional<v1::TaskAssignment> Acquire(FakeWorker& worker, Duration wait = std::chrono::seconds(20)) {
    v1::AcquireTaskResponse response;
    const absl::Status status =
        Call(workers_, &v1::WorkerService::StubInterface::AcquireTask, worker.Acquire(worker.slots, wait), &response);
    EXPECT_TRUE(status.ok()) << status;
    if (!response.has_assignment()) return std::nullopt;
    worker.running.push_back(response.assignment().attempt());
    return response.assignment();
  }
  absl::Status Report(const v1::ReportTaskRequest& request) {
    v1::ReportTaskResponse response;
    return Call(workers_, &v1::WorkerService::StubInterface::ReportTask, request, &response);
  }
  absl::StatusOr<v1::HeartbeatResponse> Beat(const FakeWorker& worker) {
    v1::HeartbeatResponse response;
    REGROUP_RETURN_IF_ERROR(
        Call(workers_, &v1::WorkerService::StubInterface::Heartbeat, worker.Heartbeat(), &response));
    return response;
  }
  absl::Status Push(const FakeWorker& worker, const v1::AttemptReport& report) {
    v1::PushLogsRequest request;
    request.set_worker(worker.id);
    request.set_incarnation(worker.incarnation);
    *request.add_reports() = report;
    v1::PushLogsResponse response;
    return Call(workers_, &v1::WorkerService::StubInterface::PushLogs, request, &response);
  }
  /// Acquires one task, reports success for it and returns its id.
  std::string RunOne(FakeWorker& worker) {
    const auto assignment = Acquire(worker);
    if (!assignment) return "nothing";
    const v1::AttemptId& attempt = assignment->attempt();
    if (assignment->kind() == v1::TASK_KIND_REPORT) {
      EXPECT_TRUE(Report(worker.AskToPublish(attempt)).ok());
    }
    const bool inspects = assignment->kind() == v1::TASK_KIND_INSPECT;
    EXPECT_TRUE(Report(worker.Report(attempt, inspects ? InspectSuccess() : Success())).ok());
    worker.running.clear();
    return attempt.task();
  }

  /// Options of the next Start.
  CoordinatorOptions options_;
  std::filesystem::path folder_;
  FaultyJobStore* store_ = nullptr;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<v1::JobService::StubInterface> jobs_;
  std::unique_ptr<v1::WorkerService::StubInterface> workers_;
  std::unique_ptr<v1::ClusterService::StubInterface> cluster_;
  absl::Status stream_status_;
  FakeWorker w1_{"w1"};
};

}  // namespace regroup
