// The authorisation matrix: every RPC of every service in proto/regroup/v1 is called by every kind of caller that must
// be rejected, and by one that is allowed. The RPCs are read from the proto files, so a new one without a row fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>

#include "coordinator/access/token_file.h"
#include "coordinator/api/coordinator.h"
#include "tests/contract/generic_call.h"
#include "tests/contract/guarded_coordinator.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {
namespace {

/// Services of workers, with a token per attempt: TrainerService on a unix socket, which the worker's tests cover, and
/// GangService, whose matrix is tests/unit/services/worker/worker_gang_access_test.cc.
const std::vector<std::string> kServicesOfWorkers = {"TrainerService", "GangService"};

using Request = std::shared_ptr<google::protobuf::Message>;

/// The answer to a request that names an attempt which is over. In no case does it change the job.
enum class OldEpoch {
  /// The request names no attempt.
  kNone,
  kIsRefused,
  /// The worker is told to stop the attempt.
  kIsStopped,
  /// Only the last lines of its logs are kept.
  kIsHeard,
};

/// One RPC: a valid request, who may make it, and what else the decision depends on.
struct Row {
  std::function<Request()> request;
  std::vector<Role> roles;
  /// True if the request is about a job, which among submitters only its owner may touch.
  bool is_of_an_owner = false;
  OldEpoch old_epoch = OldEpoch::kNone;
  /// The request as the first attempt of alice's inspect task would make it.
  std::function<Request()> of_first_epoch;
};

template <typename Message>
std::function<Request()> Make(std::function<void(Message&)> fill) {
  return [fill] {
    auto message = std::make_shared<Message>();
    fill(*message);
    return message;
  };
}

/// A request about alice's job.
template <typename Message>
std::function<Request()> AboutTheJob() {
  return Make<Message>([](Message& message) { message.set_name("jobs/alices"); });
}

template <typename Message>
std::function<Request()> AboutTheWorker() {
  return Make<Message>([](Message& message) { message.set_name("workers/w1"); });
}

/// Makes a request in which a worker speaks of itself.
template <typename Message>
std::function<Request()> FromTheWorker(std::function<void(Message&)> fill = [](Message&) {}) {
  return Make<Message>([fill](Message& message) {
    message.set_worker("w1");
    message.set_incarnation(1);
    fill(message);
  });
}

v1::AttemptId AttemptOfEpoch(int64_t epoch) {
  v1::AttemptId attempt;
  attempt.set_job("alices");
  attempt.set_task("inspect");
  attempt.set_epoch(epoch);
  return attempt;
}

std::function<Request()> ReportOfEpoch(int64_t epoch) {
  return FromTheWorker<v1::ReportTaskRequest>([epoch](v1::ReportTaskRequest& request) {
    *request.mutable_attempt() = AttemptOfEpoch(epoch);
    *request.mutable_outcome() = FailureOf(v1::FAILURE_CLASS_INFRA);
  });
}

/// Returns progress and a log line of the first attempt.
std::function<Request()> LinesOfFirstEpoch() {
  return FromTheWorker<v1::PushLogsRequest>([](v1::PushLogsRequest& request) {
    v1::AttemptReport& report = *request.add_reports();
    *report.mutable_attempt() = AttemptOfEpoch(1);
    report.mutable_progress()->set_phase("tensors");
    report.mutable_progress()->set_done(1000);
    report.add_logs()->set_message("a late line");
  });
}

/// Returns true if a message has an attempt in it, at any depth.
bool NamesAnAttempt(const google::protobuf::Descriptor* type, std::set<const google::protobuf::Descriptor*> seen = {}) {
  if (type == v1::AttemptId::descriptor()) return true;
  if (!seen.insert(type).second) return false;
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i)->message_type();
    if (field != nullptr && NamesAnAttempt(field, seen)) return true;
  }
  return false;
}

std::map<std::string, Row> Rows() {
  const std::vector<Role> readers = {Role::kViewer, Role::kSubmitter, Role::kAdmin};
  const std::vector<Role> submitters = {Role::kSubmitter, Role::kAdmin};
  const std::vector<Role> admins = {Role::kAdmin};
  const std::vector<Role> workers = {Role::kWorker};
  const auto submission = Make<v1::SubmitJobRequest>([](auto& request) {
    *request.mutable_spec() = SmallSpec();
    request.set_validate_only(true);
  });
  const auto registration = FromTheWorker<v1::RegisterWorkerRequest>([](auto& request) {
    request.set_slots(1);
    request.set_version(REGROUP_VERSION);
  });
  const auto late_registration = FromTheWorker<v1::RegisterWorkerRequest>([](auto& request) {
    request.set_slots(1);
    request.set_version(REGROUP_VERSION);
    *request.add_running() = AttemptOfEpoch(1);
  });
  const auto late_heartbeat = FromTheWorker<v1::HeartbeatRequest>(
      [](v1::HeartbeatRequest& request) { *request.add_running() = AttemptOfEpoch(1); });
  return {
      {"JobService/SubmitJob", {submission, submitters}},
      {"JobService/GetJob", {AboutTheJob<v1::GetJobRequest>(), readers, true}},
      {"JobService/ListJobs", {Make<v1::ListJobsRequest>([](auto&) {}), readers}},
      {"JobService/CancelJob", {AboutTheJob<v1::CancelJobRequest>(), submitters, true}},
      {"JobService/RetryJob", {AboutTheJob<v1::RetryJobRequest>(), submitters, true}},
      {"JobService/PauseJob", {AboutTheJob<v1::PauseJobRequest>(), submitters, true}},
      {"JobService/ResumeJob", {AboutTheJob<v1::ResumeJobRequest>(), submitters, true}},
      {"JobService/DeleteJob", {AboutTheJob<v1::DeleteJobRequest>(), submitters, true}},
      {"JobService/PlanJob", {Make<v1::PlanJobRequest>([](auto&) {}), readers}},
      {"JobService/WatchJob", {AboutTheJob<v1::WatchJobRequest>(), readers, true}},
      {"JobService/StreamLogs", {AboutTheJob<v1::StreamLogsRequest>(), readers, true}},
      {"JobService/StreamMetrics", {AboutTheJob<v1::StreamMetricsRequest>(), readers, true}},
      {"ClusterService/ListWorkers", {Make<v1::ListWorkersRequest>([](auto&) {}), readers}},
      {"ClusterService/GetWorker", {AboutTheWorker<v1::GetWorkerRequest>(), readers}},
      {"ClusterService/DrainWorker", {AboutTheWorker<v1::DrainWorkerRequest>(), admins}},
      {"ClusterService/UndrainWorker", {AboutTheWorker<v1::UndrainWorkerRequest>(), admins}},
      {"ClusterService/GetServerInfo",
       {Make<v1::GetServerInfoRequest>([](auto&) {}), {Role::kViewer, Role::kSubmitter, Role::kAdmin, Role::kWorker}}},
      {"ClusterService/ListAuditEntries", {Make<v1::ListAuditEntriesRequest>([](auto&) {}), admins}},
      {"ClusterService/BackupStore", {Make<v1::BackupStoreRequest>([](auto&) {}), admins}},
      {"WorkerService/RegisterWorker", {registration, workers, false, OldEpoch::kIsStopped, late_registration}},
      {"WorkerService/Heartbeat",
       {FromTheWorker<v1::HeartbeatRequest>(), workers, false, OldEpoch::kIsStopped, late_heartbeat}},
      {"WorkerService/AcquireTask", {FromTheWorker<v1::AcquireTaskRequest>(), workers}},
      {"WorkerService/ReportTask", {ReportOfEpoch(7), workers, false, OldEpoch::kIsRefused, ReportOfEpoch(1)}},
      {"WorkerService/PushLogs",
       {FromTheWorker<v1::PushLogsRequest>(), workers, false, OldEpoch::kIsHeard, LinesOfFirstEpoch()}},
  };
}

/// Returns "JobService/SubmitJob" and all other methods of the proto files.
std::vector<std::string> MethodsInTheProtoFiles() {
  static const std::regex declaration("^\\s*(service|rpc)\\s+(\\w+)");
  const std::filesystem::path folder = std::filesystem::path(REGROUP_SOURCE_FOLDER) / "proto/regroup/v1";
  std::vector<std::string> methods;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path());
    std::string service;
    for (std::string line; std::getline(file, line);) {
      std::smatch match;
      if (!std::regex_search(line, match, declaration)) continue;
      if (match[1] == "service") service = match[2];
      const bool is_elsewhere =
          std::find(kServicesOfWorkers.begin(), kServicesOfWorkers.end(), service) != kServicesOfWorkers.end();
      if (match[1] == "rpc" && !is_elsewhere) methods.push_back(service + "/" + match[2].str());
    }
  }
  std::sort(methods.begin(), methods.end());
  return methods;
}

class AuthorizationTest : public ::testing::TestWithParam<std::string>, protected GuardedCoordinator {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Start()); }

  std::string TokenOf(Role role) const {
    switch (role) {
      case Role::kViewer:
        return tokens_.at("viewer");
      case Role::kSubmitter:
        return tokens_.at("alice");
      case Role::kAdmin:
        return tokens_.at("root");
      default:
        return tokens_.at("node");
    }
  }
  /// Runs the first attempt of alice's inspect task and ends it; the second one is to come.
  void EndTheFirstAttempt() {
    v1::AcquireTaskRequest acquire;
    acquire.set_worker("w1");
    acquire.set_incarnation(1);
    acquire.set_free_slots(1);
    ASSERT_TRUE(CallAs("node", "WorkerService/AcquireTask", acquire).ok());
    ASSERT_TRUE(CallAs("node", "WorkerService/ReportTask", *ReportOfEpoch(1)()).ok());
  }
  v1::Job AlicesJob() {
    v1::Job job;
    EXPECT_TRUE(GenericCall(channel_, "/regroup.v1.JobService/GetJob", *AboutTheJob<v1::GetJobRequest>()(),
                            tokens_.at("alice"), &job)
                    .ok());
    // The list changes with time.
    job.clear_waiting_reason();
    return job;
  }
  /// Bob asks for alice's job, and for one of the same name when there is none.
  void ExpectTheSameForAnothersJobAndForNone(const std::string& method, const Row& row) {
    const Request request = row.request();
    const absl::Status anothers = CallAs("bob", method, *request);
    const auto* field = request->GetDescriptor()->FindFieldByName("name");
    ASSERT_NE(field, nullptr) << method;
    const std::string name = request->GetReflection()->GetString(*request, field);
    request->GetReflection()->SetString(request.get(), field, name + "-none");
    const absl::Status none = CallAs("bob", method, *request);
    EXPECT_EQ(ReasonOf(anothers), v1::RESOURCE_NOT_FOUND) << anothers;
    EXPECT_EQ(anothers.code(), none.code());
    EXPECT_EQ(ReasonOf(anothers), ReasonOf(none));
    std::string expected(none.message());
    ASSERT_NE(expected.find("-none"), std::string::npos) << none;
    EXPECT_EQ(std::string(anothers.message()), expected.erase(expected.find("-none"), 5));
  }
  void ExpectNothingComesOfAnOldEpoch(const std::string& method, const Row& row) {
    ASSERT_NO_FATAL_FAILURE(EndTheFirstAttempt());
    const v1::Job before = AlicesJob();
    EXPECT_EQ(before.tasks(0).epoch(), 1);
    const std::string path = "/regroup.v1." + method;
    const Request late = row.of_first_epoch();
    if (row.old_epoch == OldEpoch::kIsStopped) {
      // Both answers have the list in a field of this name.
      const auto* type = google::protobuf::DescriptorPool::generated_pool()
                             ->FindMethodByName("regroup.v1." + std::string(method).replace(method.find('/'), 1, "."))
                             ->output_type();
      const std::unique_ptr<google::protobuf::Message> reply(
          google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
      ASSERT_TRUE(GenericCall(channel_, path, *late, tokens_.at("node"), reply.get()).ok());
      const auto* stop = type->FindFieldByName("stop");
      ASSERT_EQ(reply->GetReflection()->FieldSize(*reply, stop), 1);
      EXPECT_EQ(reply->GetReflection()->GetRepeatedMessage(*reply, stop, 0).SerializeAsString(),
                AttemptOfEpoch(1).SerializeAsString());
    } else {
      const absl::Status status = CallAs("node", method, *late);
      EXPECT_EQ(ReasonOf(status),
                row.old_epoch == OldEpoch::kIsRefused ? v1::STALE_EPOCH : v1::ERROR_REASON_UNSPECIFIED);
    }
    EXPECT_EQ(AlicesJob().DebugString(), before.DebugString());
  }
  /// Returns true if the caller was let in, so that the failure comes from a later check.
  static bool WasLetIn(const absl::Status& status) {
    return status.code() != absl::StatusCode::kUnauthenticated &&
           status.code() != absl::StatusCode::kPermissionDenied && status.code() != absl::StatusCode::kUnavailable &&
           status.code() != absl::StatusCode::kDeadlineExceeded;
  }
};

TEST_P(AuthorizationTest, IsForThoseWhoMayAndForNobodyElse) {
  const std::string method = GetParam();
  const auto rows = Rows();
  ASSERT_TRUE(rows.contains(method)) << "a new RPC: say in Rows() who may call it";
  const Row& row = rows.at(method);
  const Request request = row.request();
  const std::string good_token = TokenOf(row.roles.front());

  // Callers that the transport rejects: without a certificate, with another authority's, with an expired one.
  grpc::SslCredentialsOptions no_certificate;
  no_certificate.pem_root_certs = ReadFile(files_.Path("ca.pem")).value();
  const auto nameless =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(coordinator_->port()), grpc::SslCredentials(no_certificate));
  files_.MakeStranger("stranger");
  files_.Make("late", std::chrono::hours(-1));
  for (const auto& channel : {nameless, Connect("stranger"), Connect("late")}) {
    EXPECT_EQ(Call(channel, method, *request, good_token).code(), absl::StatusCode::kUnavailable);
  }

  // Callers with a missing or an unknown token.
  for (const std::string& token : {std::string(), "rg-" + std::string(64, '0')}) {
    EXPECT_EQ(ReasonOf(Call(channel_, method, *request, token)), v1::CREDENTIALS_REQUIRED) << token;
  }

  // Callers whose role does not allow the call.
  for (const Role role : {Role::kViewer, Role::kSubmitter, Role::kAdmin, Role::kWorker}) {
    if (std::find(row.roles.begin(), row.roles.end(), role) != row.roles.end()) continue;
    const absl::Status status = Call(channel_, method, *request, TokenOf(role));
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << RoleName(role) << ": " << status;
    EXPECT_EQ(ReasonOf(status), v1::NOT_ALLOWED) << RoleName(role);
  }

  // Another owner, and a finished attempt.
  if (row.is_of_an_owner) ExpectTheSameForAnothersJobAndForNone(method, row);
  ASSERT_EQ(row.old_epoch != OldEpoch::kNone, NamesAnAttempt(request->GetDescriptor()))
      << "the request names an attempt: say in Rows() what becomes of one that is over";
  if (row.old_epoch != OldEpoch::kNone) ExpectNothingComesOfAnOldEpoch(method, row);

  // Every allowed caller passes authorization, whatever the result of the call.
  for (const Role role : row.roles) {
    const absl::Status status = Call(channel_, method, *request, TokenOf(role));
    EXPECT_TRUE(WasLetIn(status)) << RoleName(role) << ": " << status;
  }
}

INSTANTIATE_TEST_SUITE_P(Every, AuthorizationTest, ::testing::ValuesIn(MethodsInTheProtoFiles()), [](const auto& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
});

TEST(AuthorizationRows, AreThoseOfTheProtoFilesAndNoOthers) {
  std::vector<std::string> rows;
  for (const auto& [method, row] : Rows()) rows.push_back(method);
  EXPECT_THAT(MethodsInTheProtoFiles(), ::testing::ElementsAreArray(rows));
}

TEST(OpenCoordinator, RefusesToListenToOtherMachinesWithoutTlsAndTokens) {
  TestCertificates files;
  files.Make("server");
  CoordinatorOptions options;
  options.listen = "0.0.0.0:0";
  options.metrics_listen = "";
  options.state_folder = files.Path("state");
  options.token_file = files.Path("tokens");
  const auto refusal = [&] { return std::string(Coordinator::Start(options).status().message()); };
  EXPECT_THAT(refusal(), ::testing::HasSubstr("needs tokens"));
  options.tls = files.Files("server");
  EXPECT_THAT(refusal(), ::testing::HasSubstr("needs tokens"));
  ASSERT_TRUE(AddToken(options.token_file, "root", Role::kAdmin).ok());
  options.tls = {};
  EXPECT_THAT(refusal(), ::testing::HasSubstr("needs mutual TLS"));
  options.tls = files.Files("server");
  EXPECT_TRUE(Coordinator::Start(options).ok());
}

}  // namespace
}  // namespace regroup
