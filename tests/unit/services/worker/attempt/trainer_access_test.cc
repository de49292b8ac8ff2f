// The authorisation matrix of TrainerService: every RPC of the proto file is called by every kind of caller that must
// be rejected, and by a rank of the attempt. The RPCs are read from the proto file, so a new one without a row fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <map>

#include "regroup/v1/trainer_service.grpc.pb.h"
#include "services/common/rpc/worker_channel.h"
#include "services/worker/attempt/trainer_server.h"
#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

using grpc::StatusCode;

constexpr char kToken[] = "the secret of the attempt";
constexpr char kTokenOfAnother[] = "the secret of another attempt";

/// Makes one call as a rank of the attempt.
using Call = std::function<grpc::Status(v1::TrainerService::Stub&, grpc::ClientContext&, const v1::AttemptId&, int)>;

std::map<std::string, Call> Rows() {
  return {
      {"Attest",
       [](auto& stub, auto& context, const auto& attempt, int rank) {
         v1::AttestRequest request;
         *request.mutable_attempt() = attempt;
         request.set_rank(rank);
         request.set_world_size(1);
         v1::AttestResponse response;
         return stub.Attest(&context, request, &response);
       }},
      {"Report",
       [](auto& stub, auto& context, const auto& attempt, int rank) {
         v1::ReportRequest request;
         *request.mutable_attempt() = attempt;
         request.set_rank(rank);
         v1::ReportResponse response;
         return stub.Report(&context, request, &response);
       }},
  };
}

v1::AttemptId Attempt(const std::string& task, int64_t epoch) {
  v1::AttemptId attempt;
  attempt.set_job("demo");
  attempt.set_task(task);
  attempt.set_epoch(epoch);
  return attempt;
}

class TrainerAccess : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = TrainerServer::Start(socket_, &lease_end_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    AddAttempt(kToken, Attempt("finetune", 2));
    AddAttempt(kTokenOfAnother, Attempt("export", 1));
    stub_ = v1::TrainerService::NewStub(
        grpc::CreateChannel("unix:" + socket_.string(), grpc::InsecureChannelCredentials()));
  }

  void AddAttempt(const std::string& token, const v1::AttemptId& attempt) {
    const AttemptKey key = KeyOf(attempt);
    server_->Add(token, std::make_shared<LocalContact>(std::make_shared<RankBoard>(key, 1),
                                                       std::make_shared<LogCollector>(key, "w1")));
  }
  StatusCode Try(const Call& call, const std::string& token, const v1::AttemptId& attempt, int rank = 0) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!token.empty()) context.AddMetadata(kAttemptTokenKey, token);
    return call(*stub_, context, attempt, rank).error_code();
  }

  TemporaryFolder folder_;
  const std::filesystem::path socket_ = folder_.path() / "s";
  LeaseEnd lease_end_;
  std::unique_ptr<TrainerServer> server_;
  std::unique_ptr<v1::TrainerService::Stub> stub_;
};

TEST_F(TrainerAccess, IsForRanksOfTheAttemptAndForNobodyElse) {
  const v1::AttemptId right = Attempt("finetune", 2);
  ASSERT_EQ(Try(Rows().at("Attest"), kToken, right), StatusCode::OK);
  for (const auto& [method, call] : Rows()) {
    SCOPED_TRACE(method);
    EXPECT_EQ(Try(call, "", right), StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(Try(call, "a guess", right), StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(Try(call, kTokenOfAnother, right), StatusCode::FAILED_PRECONDITION)
        << "a token is valid for one attempt only";
    EXPECT_EQ(Try(call, kToken, Attempt("finetune", 1)), StatusCode::FAILED_PRECONDITION) << "an old epoch";
    EXPECT_EQ(Try(call, kToken, Attempt("finetune", 3)), StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(Try(call, kToken, Attempt("export", 1)), StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(Try(call, kToken, right, 1), StatusCode::FAILED_PRECONDITION) << "a rank that does not exist";
    EXPECT_EQ(Try(call, kToken, right), StatusCode::OK);
  }
  server_->Remove(kToken);
  for (const auto& [method, call] : Rows()) {
    EXPECT_EQ(Try(call, kToken, right), StatusCode::PERMISSION_DENIED) << method << " after the attempt's end";
  }
}

TEST_F(TrainerAccess, TellsRanksHowLongTheWorkerHoldsItsLease) {
  const v1::AttemptId attempt = Attempt("finetune", 2);
  ASSERT_EQ(Try(Rows().at("Attest"), kToken, attempt), StatusCode::OK);
  const auto lease = [&] {
    grpc::ClientContext context;
    context.AddMetadata(kAttemptTokenKey, kToken);
    v1::ReportRequest request;
    *request.mutable_attempt() = attempt;
    v1::ReportResponse response;
    EXPECT_TRUE(stub_->Report(&context, request, &response).ok());
    return response;
  };
  EXPECT_FALSE(lease().has_lease());
  lease_end_.Set(std::chrono::steady_clock::now() + std::chrono::minutes(1));
  EXPECT_LE(lease().lease().seconds(), 60);
  EXPECT_GT(lease().lease().seconds(), 0);
  lease_end_.Set(std::chrono::steady_clock::now() - std::chrono::minutes(1));
  EXPECT_TRUE(lease().has_lease());
  EXPECT_EQ(lease().lease().seconds(), 0);
}

TEST_F(TrainerAccess, IsBehindASocketOfThisUserAlone) {
  struct stat state {};
  ASSERT_EQ(stat(socket_.c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 0777, 0600U);
}

TEST(TrainerAccessRows, AreThoseOfTheService) {
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName("regroup.v1.TrainerService");
  ASSERT_NE(service, nullptr);
  std::vector<std::string> methods;
  for (int i = 0; i < service->method_count(); ++i) methods.push_back(service->method(i)->name());
  std::vector<std::string> rows;
  for (const auto& [method, call] : Rows()) rows.push_back(method);
  EXPECT_THAT(rows, ::testing::UnorderedElementsAreArray(methods));
}

}  // namespace
}  // namespace regroup
