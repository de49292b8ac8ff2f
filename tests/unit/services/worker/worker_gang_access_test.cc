// The authorisation matrix of GangService: every RPC of the proto file is called by every kind of caller that must be
// rejected, and by a worker of the attempt. The RPCs are read from the proto file, so a new one without a row fails.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <regex>

#include "regroup/v1/gang_service.grpc.pb.h"
#include "services/common/base/error.h"
#include "services/common/base/files.h"
#include "services/common/rpc/status.h"
#include "services/common/rpc/worker_channel.h"
#include "tests/unit/services/common/rpc/test_certificates.h"
#include "tests/unit/services/worker/worker_fixture.h"

namespace regroup {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

constexpr char kToken[] = "the secret of the attempt";

/// Makes one call about an attempt.
using Call = std::function<grpc::Status(v1::GangService::Stub&, grpc::ClientContext&, const v1::AttemptId&)>;

grpc::Status RunDaemon(v1::GangService::Stub& stub, grpc::ClientContext& context, const v1::RunDaemonRequest& request) {
  const auto reader = stub.RunDaemon(&context, request);
  v1::RunDaemonResponse event;
  while (reader->Read(&event)) {
  }
  return reader->Finish();
}

std::map<std::string, Call> Rows() {
  return {
      {"RunDaemon",
       [](auto& stub, auto& context, const auto& attempt) {
         v1::RunDaemonRequest request;
         *request.mutable_attempt() = attempt;
         return RunDaemon(stub, context, request);
       }},
      {"RelayAttest",
       [](auto& stub, auto& context, const auto& attempt) {
         v1::RelayAttestRequest request;
         *request.mutable_attest()->mutable_attempt() = attempt;
         v1::AttestResponse response;
         return stub.RelayAttest(&context, request, &response);
       }},
      {"RelayReport",
       [](auto& stub, auto& context, const auto& attempt) {
         v1::RelayReportRequest request;
         *request.mutable_report()->mutable_attempt() = attempt;
         v1::ReportResponse response;
         return stub.RelayReport(&context, request, &response);
       }},
  };
}

std::vector<std::string> MethodsInTheProtoFile() {
  static const std::regex declaration("^\\s*rpc\\s+(\\w+)");
  std::ifstream file(std::filesystem::path(REGROUP_SOURCE_FOLDER) / "proto/regroup/v1/gang_service.proto");
  std::vector<std::string> methods;
  std::smatch match;
  for (std::string line; std::getline(file, line);) {
    if (std::regex_search(line, match, declaration)) methods.push_back(match[1]);
  }
  std::sort(methods.begin(), methods.end());
  return methods;
}

class WorkerGangAccess : public WorkerFixture {
 protected:
  void SetUp() override {
    certificates_.MakeWorker("worker");
    options_.gang.listen = "0.0.0.0:0";
    options_.gang.tls = certificates_.Files("worker");
    options_.gang.remote_shell = "/opt/regroup-rsh";
    options_.mpirun = folder_.path() / "mpirun";
    StartWorker();
    ASSERT_NE(worker_, nullptr);
    ASSERT_TRUE(coordinator_.WaitUntil([this] { return !coordinator_.registrations.empty(); }));
    const std::string address = coordinator_.registrations.front().gang_address();
    address_ = "127.0.0.1" + address.substr(address.rfind(':'));

    v1::TaskAssignment helps = MakeAssignment("finetune", "succeed", 4);
    helps.mutable_attempt()->set_epoch(2);
    for (const char* name : {"node-0", "node-1"}) {
      v1::GangMember& member = *helps.mutable_gang()->add_members();
      member.set_worker(name);
      member.set_ranks(2);
      member.set_address("127.0.0.1:1");
    }
    helps.mutable_gang()->set_member(1);
    helps.mutable_gang()->set_token(kToken);
    attempt_ = helps.attempt();
    const AttemptKey key = Assign(helps);
    ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.listed.contains(key); }));
  }

  absl::Status Try(const Call& call, const std::string& certificate, const std::string& token,
                   const v1::AttemptId& attempt) {
    return TryOver(OpenWorkerChannel(address_, certificates_.Files(certificate)).value(), call, token, attempt);
  }
  absl::Status TryOver(std::shared_ptr<grpc::Channel> channel, const Call& call, const std::string& token,
                       const v1::AttemptId& attempt) {
    const auto stub = v1::GangService::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!token.empty()) context.AddMetadata(kAttemptTokenKey, token);
    return FromGrpc(call(*stub, context, attempt));
  }
  v1::AttemptId OfEpoch(int64_t epoch) const {
    v1::AttemptId attempt = attempt_;
    attempt.set_epoch(epoch);
    return attempt;
  }
  v1::AttemptId OfTask(const std::string& task) const {
    v1::AttemptId attempt = attempt_;
    attempt.set_task(task);
    return attempt;
  }

  /// Installs a script instead of Open MPI's daemon.
  void WriteDaemon(const std::string& script) const {
    const std::filesystem::path daemon = folder_.path() / "orted";
    std::ofstream(daemon) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(daemon, std::filesystem::perms::owner_all);
  }

  TestCertificates certificates_;
  std::string address_;
  v1::AttemptId attempt_;
};

/// A worker that other workers would not believe says so at its start, and not when a gang is placed on it.
TEST_F(WorkerFixture, RefusesToListenWithACertificateThatIsNotAWorkers) {
  TestCertificates certificates;
  certificates.Make("client");
  options_.gang.listen = "127.0.0.1:0";
  options_.gang.tls = certificates.Files("client");
  const absl::Status status = Worker::Start(options_, OpenChannel(coordinator_.address()).value()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("client.pem is not a worker's"));
}

TEST_F(WorkerGangAccess, IsForWorkersOfTheAttemptAndForNobodyElse) {
  certificates_.MakeStranger("stranger");
  certificates_.MakeWorker("late", std::chrono::hours(-1));
  certificates_.Make("client");
  grpc::SslCredentialsOptions no_certificate;
  no_certificate.pem_root_certs = ReadFile(certificates_.Path("ca.pem")).value();
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(kWorkerName);
  for (const auto& [method, call] : Rows()) {
    SCOPED_TRACE(method);
    // Callers that the transport rejects.
    const auto nameless = grpc::CreateCustomChannel(address_, grpc::SslCredentials(no_certificate), arguments);
    EXPECT_TRUE(absl::IsUnavailable(TryOver(nameless, call, kToken, attempt_)));
    for (const char* name : {"stranger", "late"}) {
      EXPECT_TRUE(absl::IsUnavailable(Try(call, name, kToken, attempt_))) << name;
    }
    // A certificate of the cluster that does not belong to a worker.
    EXPECT_EQ(ReasonOf(Try(call, "client", kToken, attempt_)), v1::NOT_ALLOWED);
    // A missing token, and a wrong one.
    EXPECT_EQ(ReasonOf(Try(call, "worker", "", attempt_)), v1::CREDENTIALS_REQUIRED);
    EXPECT_EQ(ReasonOf(Try(call, "worker", "a guess", attempt_)), v1::NOT_ALLOWED);
    EXPECT_EQ(ReasonOf(Try(call, "worker", std::string(kToken) + "x", attempt_)), v1::NOT_ALLOWED);
    // These calls name another epoch, or an attempt that this worker was not assigned.
    EXPECT_EQ(ReasonOf(Try(call, "worker", kToken, OfEpoch(1))), v1::STALE_EPOCH);
    EXPECT_EQ(ReasonOf(Try(call, "worker", kToken, OfEpoch(3))), v1::STALE_EPOCH);
    EXPECT_EQ(ReasonOf(Try(call, "worker", kToken, OfTask("calibrate"))), v1::RESOURCE_NOT_FOUND);
    // A worker of the attempt is accepted, and gets the error about the rest of the request.
    const v1::ErrorReason reason = ReasonOf(Try(call, "worker", kToken, attempt_));
    EXPECT_EQ(reason, method == "RunDaemon" ? v1::INVALID_FIELD : v1::WRONG_STATE);
  }
}

TEST_F(WorkerGangAccess, HasARowForEveryCallOfTheProtoFile) {
  std::vector<std::string> rows;
  for (const auto& [method, call] : Rows()) rows.push_back(method);
  EXPECT_THAT(MethodsInTheProtoFile(), ElementsAreArray(rows));
}

TEST_F(WorkerGangAccess, ADaemonGetsNoOtherArguments) {
  v1::RunDaemonRequest request;
  *request.mutable_attempt() = attempt_;
  request.add_settings()->set_name("plm_rsh_agent");
  request.mutable_settings(0)->set_value("/bin/sh");
  const Call call = [&](auto& stub, auto& context, const auto&) { return RunDaemon(stub, context, request); };
  const absl::Status status = Try(call, "worker", kToken, attempt_);
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  EXPECT_THAT(std::string(status.message()), HasSubstr("plm_rsh_agent"));
  EXPECT_THAT(Alive(), testing::IsEmpty());
}

TEST_F(WorkerGangAccess, TheRanksOfADaemonShareMemoryInAFolderOfTheirOwn) {
  const std::filesystem::path note = folder_.path() / "note";
  WriteDaemon(
      fmt::format("printf %s \"$OMPI_MCA_btl_vader_backing_directory\" > {0}; stat -c ' %a' "
                  "\"$OMPI_MCA_btl_vader_backing_directory\" >> {0}",
                  note.string()));
  v1::RunDaemonRequest request;
  *request.mutable_attempt() = attempt_;
  for (const auto& [name, value] : std::map<std::string, std::string>{{"ess", "env"},
                                                                      {"ess_base_jobid", "1"},
                                                                      {"ess_base_vpid", "1"},
                                                                      {"ess_base_num_procs", "2"},
                                                                      {"orte_hnp_uri", "1.0;tcp://127.0.0.1:1"},
                                                                      {"plm_rsh_no_tree_spawn", "1"}}) {
    v1::DaemonSetting& setting = *request.add_settings();
    setting.set_name(name);
    setting.set_value(value);
  }
  const Call call = [&](auto& stub, auto& context, const auto&) { return RunDaemon(stub, context, request); };
  const absl::Status status = Try(call, "worker", kToken, attempt_);
  ASSERT_TRUE(status.ok()) << status;
  const std::string text = ReadFile(note).value();
  EXPECT_THAT(text, testing::StartsWith("/dev/shm/regroup-"));
  EXPECT_THAT(text, testing::EndsWith(" 700\n"));
  const std::string shared = text.substr(0, text.find(' '));
  WaitFor([&] { return !std::filesystem::exists(shared); }, "the removal of " + shared);
}

TEST_F(WorkerGangAccess, NothingIsListenedToWithoutMutualTls) {
  StopWorker();
  options_.gang.tls = {};
  const auto worker = Worker::Start(options_, OpenChannel(coordinator_.address()).value());
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.status())) << worker.status();
}

}  // namespace
}  // namespace regroup
