// Tests what belongs to whom: a submitter sees and changes its own jobs only, and the audit log tells who changed what
// and who was refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "coordinator/access/token_file.h"
#include "services/common/base/files.h"
#include "tests/contract/generic_call.h"
#include "tests/contract/guarded_coordinator.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

class OwnersTest : public ::testing::Test, protected GuardedCoordinator {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Start()); }

  /// Returns the newest entries of the audit log, newest first; those about the resource if it is not empty.
  std::vector<v1::AuditEntry> AuditEntries(const std::string& resource = "") {
    v1::ListAuditEntriesRequest request;
    request.set_resource(resource);
    request.set_page_size(1000);
    v1::ListAuditEntriesResponse response;
    EXPECT_TRUE(
        GenericCall(channel_, "/regroup.v1.ClusterService/ListAuditEntries", request, tokens_.at("root"), &response)
            .ok());
    return {response.entries().begin(), response.entries().end()};
  }
  std::vector<v1::AuditEntry> Refusals() {
    std::vector<v1::AuditEntry> refusals = AuditEntries();
    std::erase_if(refusals, [](const v1::AuditEntry& entry) { return entry.refusal().empty(); });
    return refusals;
  }
  /// Returns the newest refusal of this caller's calls of the method. It is written after the call is answered, so this
  /// waits for it; the entry is empty if none comes.
  v1::AuditEntry RefusalOf(const std::string& caller, const std::string& method) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      for (const v1::AuditEntry& entry : Refusals()) {
        if (entry.caller() == caller && entry.method() == method) return entry;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
  }
};

TEST_F(OwnersTest, ShowASubmitterItsOwnJobsOnly) {
  const auto stub = v1::JobService::NewStub(channel_);
  const auto list = [&](const std::string& name, const std::string& owner = "") {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + tokens_.at(name));
    v1::ListJobsRequest request;
    request.set_owner(owner);
    v1::ListJobsResponse response;
    const grpc::Status status = stub->ListJobs(&context, request, &response);
    return status.ok() ? response.jobs_size() : -1;
  };
  EXPECT_EQ(list("alice"), 1);
  EXPECT_EQ(list("bob"), 0);
  EXPECT_EQ(list("bob", "alice"), -1);
  EXPECT_EQ(list("viewer"), 1);
  EXPECT_EQ(list("root", "bob"), 0);
}

TEST_F(OwnersTest, HaveRequestIdsOfTheirOwn) {
  v1::SubmitJobRequest request;
  *request.mutable_spec() = SmallSpec();
  request.set_request_id("same");
  const auto stub = v1::JobService::NewStub(channel_);
  const auto submit = [&](const std::string& name) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + tokens_.at(name));
    v1::Job job;
    EXPECT_TRUE(stub->SubmitJob(&context, request, &job).ok());
    return job;
  };
  const v1::Job alices = submit("alice");
  EXPECT_EQ(alices.owner(), "alice");
  EXPECT_EQ(submit("alice").name(), alices.name());
  EXPECT_NE(submit("bob").name(), alices.name());
}

TEST_F(OwnersTest, AreRefusedFromTheMomentTheirTokenIsRemoved) {
  v1::ListJobsRequest request;
  EXPECT_TRUE(CallAs("alice", "JobService/ListJobs", request).ok());
  ASSERT_TRUE(RemoveToken(files_.Path("tokens"), "alice").ok());
  EXPECT_EQ(ReasonOf(CallAs("alice", "JobService/ListJobs", request)), v1::CREDENTIALS_REQUIRED);
  std::filesystem::remove(files_.Path("tokens"));
  for (const char* name : {"alice", "bob"}) {
    EXPECT_EQ(CallAs(name, "JobService/ListJobs", request).code(), absl::StatusCode::kUnavailable)
        << "without its file nobody knows whose token is valid";
  }
  ASSERT_TRUE(WriteFileAtomically(files_.Path("tokens"), "nonsense\n").ok());
  EXPECT_EQ(ReasonOf(Call(channel_, "JobService/ListJobs", request, "")), v1::CREDENTIALS_REQUIRED);
}

TEST_F(OwnersTest, StandInTheAuditLogWithWhatTheyChanged) {
  v1::CancelJobRequest cancel;
  cancel.set_name("jobs/alices");
  ASSERT_FALSE(CallAs("bob", "JobService/CancelJob", cancel).ok());
  ASSERT_TRUE(CallAs("root", "JobService/CancelJob", cancel).ok());
  const std::vector<v1::AuditEntry> entries = AuditEntries("jobs/alices");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].method(), "JobService/CancelJob");
  EXPECT_EQ(entries[0].refusal(), "");
  EXPECT_EQ(entries[0].caller(), "root");
  EXPECT_EQ(entries[0].role(), "admin");
  EXPECT_THAT(entries[0].peer(), ::testing::StartsWith("ipv4:127.0.0.1"));
  EXPECT_EQ(entries[1].method(), "JobService/CancelJob");
  EXPECT_EQ(entries[1].caller(), "bob");
  EXPECT_THAT(entries[1].refusal(), ::testing::HasSubstr("another owner"));
  EXPECT_EQ(entries[2].method(), "JobService/SubmitJob");
  EXPECT_EQ(entries[2].caller(), "alice");
}

TEST_F(OwnersTest, FindRefusedCallsInTheAuditLogWithoutFillingIt) {
  constexpr int kCalls = 300;
  v1::DrainWorkerRequest drain;
  drain.set_name("workers/w1");
  ASSERT_FALSE(CallAs("alice", "ClusterService/DrainWorker", drain).ok());
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_FALSE(Call(channel_, "JobService/ListJobs", v1::ListJobsRequest(), "rg-wrong").ok());
  }
  // Those without a token do not use up what is kept for others.
  ASSERT_FALSE(CallAs("bob", "ClusterService/DrainWorker", drain).ok());
  EXPECT_EQ(RefusalOf("bob", "ClusterService/DrainWorker").caller(), "bob");
  const auto told = [&] {
    int64_t told = 0;
    // An entry without a method tells only of others.
    for (const v1::AuditEntry& entry : Refusals()) told += entry.refusals_left_out() + (entry.method().empty() ? 0 : 1);
    return told;
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (told() < kCalls + 2 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(told(), kCalls + 2);
  const std::vector<v1::AuditEntry> entries = Refusals();
  EXPECT_LT(entries.size(), 100u);
  EXPECT_EQ(entries.back().caller(), "alice");
  EXPECT_EQ(entries.back().role(), "submitter");
  EXPECT_EQ(entries.back().method(), "ClusterService/DrainWorker");
  EXPECT_THAT(entries.back().refusal(), ::testing::HasSubstr("is allowed for admin"));
  EXPECT_EQ(entries[entries.size() - 2].caller(), "");
  EXPECT_EQ(entries[entries.size() - 2].role(), "");
}

/// Every call in which an admitted caller can ask for what it may not have.
TEST_F(OwnersTest, FindInTheAuditLogWhatTheyAskedForInVain) {
  v1::SubmitJobRequest submit;
  *submit.mutable_spec() = SmallSpec();
  submit.mutable_spec()->mutable_source()->set_checkpoint("/elsewhere/model");
  v1::PlanJobRequest plan;
  *plan.mutable_spec() = submit.spec();
  v1::ListJobsRequest list;
  list.set_owner("alice");
  const std::map<std::string, std::pair<const google::protobuf::Message*, std::string>> requests = {
      {"JobService/SubmitJob", {&submit, "source.checkpoint"}},
      {"JobService/PlanJob", {&plan, "source.checkpoint"}},
      {"JobService/ListJobs", {&list, "only its own jobs"}}};
  for (const auto& [method, request] : requests) {
    EXPECT_EQ(ReasonOf(CallAs("bob", method, *request.first)), v1::NOT_ALLOWED) << method;
    EXPECT_THAT(RefusalOf("bob", method).refusal(), ::testing::HasSubstr(request.second)) << method;
  }
}

}  // namespace
}  // namespace regroup
