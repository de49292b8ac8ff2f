// The identity of workers: every RPC of WorkerService is called in another worker's name, and by a process that is not
// the one that registered. The RPCs are read from the service, so a new one is tested too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/access/token_file.h"
#include "coordinator/api/coordinator.h"
#include "tests/contract/generic_call.h"
#include "tests/contract/guarded_coordinator.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

const google::protobuf::ServiceDescriptor& Service() {
  return *google::protobuf::DescriptorPool::generated_pool()->FindServiceByName("regroup.v1.WorkerService");
}

std::vector<std::string> Methods() {
  std::vector<std::string> methods;
  for (int i = 0; i < Service().method_count(); ++i) methods.push_back(Service().method(i)->name());
  return methods;
}

/// Returns a request of the method's type in which the worker speaks of itself, and of its attempt if it reports one.
std::unique_ptr<google::protobuf::Message> RequestOf(const std::string& method, const FakeWorker& worker) {
  if (method == "RegisterWorker") {
    auto request = std::make_unique<v1::RegisterWorkerRequest>(worker.Registration());
    request->set_version(REGROUP_VERSION);
    return request;
  }
  if (method == "ReportTask") {
    return std::make_unique<v1::ReportTaskRequest>(
        worker.Report(worker.running.empty() ? v1::AttemptId() : worker.running[0], InspectSuccess()));
  }
  const auto* type = Service().FindMethodByName(method)->input_type();
  std::unique_ptr<google::protobuf::Message> request(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  request->GetReflection()->SetString(request.get(), type->FindFieldByName("worker"), worker.id);
  request->GetReflection()->SetUInt64(request.get(), type->FindFieldByName("incarnation"), worker.incarnation);
  return request;
}

/// A coordinator with a token for each of two workers; w1 runs the first task of a job.
class WorkerIdentityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"server", "client"}) files_.Make(name);
    tokens_["root"] = AddToken(files_.Path("tokens"), "root", Role::kAdmin).value();
    for (const char* name : {"w1", "w2"}) {
      tokens_[name] = AddToken(files_.Path("tokens"), name, Role::kWorker).value();
    }
    auto started = Coordinator::Start(GuardedOptions(files_));
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    channel_ = OpenChannel("127.0.0.1:" + std::to_string(coordinator_->port()), files_.Identity("client")).value();
    ASSERT_TRUE(Call("w1", "RegisterWorker", w1_).ok());
    v1::SubmitJobRequest submission;
    submission.set_job_id("a-job");
    *submission.mutable_spec() = SmallSpec();
    ASSERT_TRUE(GenericCall(channel_, "/regroup.v1.JobService/SubmitJob", submission, tokens_.at("root")).ok());
    v1::AcquireTaskResponse acquired;
    ASSERT_TRUE(
        GenericCall(channel_, "/regroup.v1.WorkerService/AcquireTask", w1_.Acquire(1), tokens_.at("w1"), &acquired)
            .ok());
    w1_.running.push_back(acquired.assignment().attempt());
    ASSERT_EQ(w1_.running[0].task(), "inspect");
  }

  /// Makes the call with the named token, as `worker` would.
  absl::Status Call(const std::string& token, const std::string& method, const FakeWorker& worker) {
    return GenericCall(channel_, "/regroup.v1.WorkerService/" + method, *RequestOf(method, worker), tokens_.at(token));
  }
  v1::Task Task() {
    v1::GetJobRequest request;
    request.set_name("jobs/a-job");
    v1::Job job;
    EXPECT_TRUE(GenericCall(channel_, "/regroup.v1.JobService/GetJob", request, tokens_.at("root"), &job).ok());
    return job.tasks(0);
  }

  TestCertificates files_;
  std::map<std::string, std::string> tokens_;
  std::unique_ptr<Coordinator> coordinator_;
  std::shared_ptr<grpc::Channel> channel_;
  FakeWorker w1_{"w1"};
};

TEST_F(WorkerIdentityTest, IsThatOfTheTokenInEveryCall) {
  for (const std::string& method : Methods()) {
    const absl::Status status = Call("w2", method, w1_);
    EXPECT_EQ(ReasonOf(status), v1::NOT_ALLOWED) << method << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("token \"w2\" is for worker w2, not for w1")) << method;
    EXPECT_EQ(Task().state(), v1::TASK_STATE_RUNNING) << method;
  }
  EXPECT_TRUE(Call("w1", "ReportTask", w1_).ok());
  EXPECT_EQ(Task().state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(WorkerIdentityTest, IsThatOfTheProcessThatRegistered) {
  FakeWorker other = w1_;
  other.incarnation = 12345;
  for (const std::string& method : Methods()) {
    if (method == "RegisterWorker") continue;
    const absl::Status status = Call("w1", method, other);
    EXPECT_EQ(ReasonOf(status), v1::WORKER_NOT_REGISTERED) << method << ": " << status;
    EXPECT_EQ(Task().state(), v1::TASK_STATE_RUNNING) << method;
  }
}

TEST_F(WorkerIdentityTest, MayBeOneOfAPrefix) {
  tokens_["pods"] = AddToken(files_.Path("tokens"), "pods", Role::kWorker, "pod-*").value();
  for (const char* id : {"pod-0", "pod-17"}) {
    EXPECT_TRUE(Call("pods", "RegisterWorker", FakeWorker(id)).ok()) << id;
    EXPECT_TRUE(Call("pods", "Heartbeat", FakeWorker(id)).ok()) << id;
  }
  EXPECT_EQ(ReasonOf(Call("pods", "RegisterWorker", FakeWorker("w1"))), v1::NOT_ALLOWED);
  ASSERT_TRUE(BindToken(files_.Path("tokens"), "pods", "pod-0").ok());
  EXPECT_EQ(ReasonOf(Call("pods", "Heartbeat", FakeWorker("pod-17"))), v1::NOT_ALLOWED) << "from the next call on";
}

TEST_F(WorkerIdentityTest, DoesNotReachTheAttemptsOfAnother) {
  FakeWorker w2("w2");
  ASSERT_TRUE(Call("w2", "RegisterWorker", w2).ok());
  w2.running = w1_.running;
  EXPECT_EQ(ReasonOf(Call("w2", "ReportTask", w2)), v1::STALE_EPOCH);
  v1::PushLogsRequest push;
  push.set_worker("w2");
  push.set_incarnation(w2.incarnation);
  v1::AttemptReport& report = *push.add_reports();
  *report.mutable_attempt() = w1_.running[0];
  report.add_logs()->set_message("a line that w1 never wrote");
  report.mutable_progress()->set_phase("a phase of w2");
  EXPECT_TRUE(GenericCall(channel_, "/regroup.v1.WorkerService/PushLogs", push, tokens_.at("w2")).ok());
  EXPECT_EQ(Task().state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(Task().progress().phase(), "");
  const bool is_dropped =
      coordinator_->metrics().metrics().Text().find("regroup_logs_dropped_total 1") != std::string::npos;
  EXPECT_TRUE(is_dropped);
}

}  // namespace
}  // namespace regroup
