// Tests several servers behind one channel, over real sockets: calls go to the one that serves, and follow it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "services/common/rpc/status.h"
#include "services/common/rpc/target.h"
#include "tests/unit/services/common/rpc/info_service.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A server that counts its calls.
struct Member {
  explicit Member(const TlsFiles& tls = {}) {
    RpcServerOptions options;
    options.address = "127.0.0.1:0";
    options.tls = tls;
    server = RpcServer::Start(options, {&service}).value();
  }
  bool WasCalled() const { return !service.last_peer().empty(); }

  InfoService service;
  std::unique_ptr<RpcServer> server;
};

class LeaderChannel : public ::testing::Test {
 protected:
  void Connect(const std::string& address, const ClientIdentity& identity = {}) {
    const auto channel = OpenChannel(address, identity);
    ASSERT_TRUE(channel.ok()) << channel.status();
    stub_ = v1::ClusterService::NewStub(*channel);
  }
  static std::string ListOf(const Member& first, const Member& second) {
    return first.server->address() + "," + second.server->address();
  }
  absl::Status Call() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    v1::ServerInfo info;
    return FromGrpc(stub_->GetServerInfo(&context, {}, &info));
  }
  void CallUntilItSucceeds() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!Call().ok()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "no server was found";
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  void ExpectToFollow(Member& first, Member& second) {
    second.server->SetServing(true);
    CallUntilItSucceeds();
    for (int call = 0; call < 10; ++call) EXPECT_TRUE(Call().ok());
    EXPECT_FALSE(first.WasCalled()) << "a server that does not serve was called";
    second.server->Stop(std::chrono::milliseconds(0));
    first.server->SetServing(true);
    CallUntilItSucceeds();
    EXPECT_TRUE(first.WasCalled());
  }

  std::unique_ptr<v1::ClusterService::Stub> stub_;
};

TEST_F(LeaderChannel, CallsTheServerThatServesAndThenTheOneThatTakesOver) {
  Member first, second;
  Connect(ListOf(first, second));
  ExpectToFollow(first, second);
}

TEST_F(LeaderChannel, FollowsALeaderThatOnlyStopsServing) {
  Member first, second;
  Connect(ListOf(first, second));
  first.server->SetServing(true);
  CallUntilItSucceeds();
  first.server->SetServing(false);
  second.server->SetServing(true);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!second.WasCalled() && std::chrono::steady_clock::now() < deadline) (void)Call();
  EXPECT_TRUE(second.WasCalled());
}

TEST_F(LeaderChannel, IsUnavailableWhileNobodyServes) {
  Member first, second;
  Connect(ListOf(first, second));
  EXPECT_TRUE(absl::IsUnavailable(Call()));
  EXPECT_FALSE(first.WasCalled() || second.WasCalled());
}

TEST_F(LeaderChannel, FollowsWithMutualTls) {
  TestCertificates files;
  files.Make("server");
  files.Make("client");
  Member first(files.Files("server")), second(files.Files("server"));
  Connect(ListOf(first, second), files.Identity("client"));
  ExpectToFollow(first, second);
}

TEST_F(LeaderChannel, DoesNotTalkToOneOfTheListThatAnotherAuthoritySigned) {
  TestCertificates files;
  files.Make("client");
  files.MakeStranger("stranger");
  Member first(files.Files("stranger")), second(files.Files("stranger"));
  first.server->SetServing(true);
  Connect(ListOf(first, second), files.Identity("client"));
  EXPECT_TRUE(absl::IsUnavailable(Call()));
  EXPECT_FALSE(first.WasCalled());
}

TEST_F(LeaderChannel, FollowsANameWithSeveralAddresses) {
  Member first;
  first.server->SetServing(true);
  Connect("dns:///" + first.server->address());
  CallUntilItSucceeds();
}

TEST(TargetOf, KeepsOneAddressAsItIs) {
  for (const char* address : {"127.0.0.1:7447", "coordinator.example.org:7447", "unix:/run/regroup"}) {
    EXPECT_EQ(TargetOf(address)->uri, address);
    EXPECT_FALSE(TargetOf(address)->has_several);
  }
}

TEST(TargetOf, LooksUpTheNamesOfAList) {
  const Target target = TargetOf("localhost:1, 127.0.0.2:2").value();
  EXPECT_EQ(target.uri, "ipv4:127.0.0.1:1,127.0.0.2:2");
  EXPECT_EQ(target.name, "localhost");
  EXPECT_TRUE(target.has_several);
  EXPECT_EQ(TargetOf("[::1]:1,[::1]:2")->uri, "ipv6:[::1]:1,[::1]:2");
}

TEST(TargetOf, SaysWhatIsWrongWithAList) {
  const auto why = [](const std::string& address) { return std::string(TargetOf(address).status().message()); };
  EXPECT_THAT(why("127.0.0.1:1,unix:/a"), HasSubstr("\"unix:/a\": write host:port"));
  EXPECT_THAT(why("127.0.0.1:1,"), HasSubstr("write HOST:PORT"));
  EXPECT_THAT(why("127.0.0.1:1,nobody.invalid:1"), StartsWith("cannot look up"));
}

TEST(OpenChannel, NeedsTlsWhereOneOfAListIsOnAnotherMachine) {
  EXPECT_EQ(OpenChannel("127.0.0.1:1,192.0.2.1:1").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(OpenChannel("dns:///coordinators.example.org:1").status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace regroup
