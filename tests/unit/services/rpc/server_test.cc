#include "services/rpc/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <mutex>

#include "regroup/v1/cluster_service.grpc.pb.h"
#include "services/rpc/channel.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

class InfoService : public v1::ClusterService::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest*,
                                          v1::ServerInfo* response) override {
    response->set_version("test");
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

absl::StatusOr<std::string> VersionFrom(const std::string& address, const TlsFiles& tls = {}) {
  const auto channel = OpenChannel(address, tls);
  if (!channel.ok()) return channel.status();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::ServerInfo info;
  const auto stub = v1::ClusterService::NewStub(*channel);
  const grpc::Status status = stub->GetServerInfo(&context, {}, &info);
  if (!status.ok()) return absl::UnavailableError(status.error_message());
  return info.version();
}

absl::StatusOr<std::unique_ptr<RpcServer>> StartOn(const std::string& address, InfoService* service,
                                                   CallObserver observer = nullptr) {
  RpcServerOptions options;
  options.address = address;
  options.observer = std::move(observer);
  return RpcServer::Start(options, {service});
}

TEST(RpcServer, TakesAFreePortAndSaysWhich) {
  InfoService service;
  const auto server = StartOn("127.0.0.1:0", &service);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_GT((*server)->port(), 0);
  EXPECT_EQ((*server)->address(), "127.0.0.1:" + std::to_string((*server)->port()));
  EXPECT_EQ(VersionFrom((*server)->address()).value(), "test");
}

TEST(RpcServer, ServesAUnixSocket) {
  InfoService service;
  const std::string path = std::filesystem::temp_directory_path() / ("rpc_server_" + std::to_string(getpid()));
  const auto server = StartOn("unix:" + path, &service);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(VersionFrom("unix:" + path).value(), "test");
}

TEST(RpcServer, NamesAnAddressThatIsTaken) {
  InfoService service;
  const auto first = StartOn("127.0.0.1:0", &service);
  ASSERT_TRUE(first.ok());
  const absl::Status second = StartOn((*first)->address(), &service).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr((*first)->address()));
  EXPECT_THAT(std::string(second.message()), HasSubstr("in use"));
}

TEST(RpcServer, RefusesToBeReachedFromOutsideWithoutTls) {
  InfoService service;
  for (const char* address : {"0.0.0.0:0", "[::]:0", "example.org:7447", "127.evil.org:7447"}) {
    EXPECT_EQ(StartOn(address, &service).status().code(), absl::StatusCode::kFailedPrecondition) << address;
    EXPECT_EQ(OpenChannel(address).status().code(), absl::StatusCode::kFailedPrecondition) << address;
  }
}

TEST(RpcServer, ObservesEveryCallWithItsCode) {
  InfoService service;
  std::mutex mutex;
  std::vector<std::string> seen;
  {
    const auto server = StartOn("127.0.0.1:0", &service, [&](std::string_view method, grpc::StatusCode code, double) {
      std::lock_guard lock(mutex);
      seen.push_back(std::string(method) + " " + std::to_string(code));
    });
    ASSERT_TRUE(VersionFrom((*server)->address()).ok());
    (*server)->Stop(std::chrono::seconds(10));
  }
  EXPECT_THAT(seen, ::testing::ElementsAre("/regroup.v1.ClusterService/GetServerInfo 0"));
}

/// Certificates made by openssl for this test: an authority, and one pair signed by it.
class MutualTls : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "rpc_tls_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    MakeAuthority("ca");
    MakeAuthority("other");
    MakePair("node", "ca");
    MakePair("stranger", "other");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Shell(const std::string& command) {
    ASSERT_EQ(std::system(("cd " + folder_.string() + " && " + command + " >/dev/null 2>&1").c_str()), 0) << command;
  }
  void MakeAuthority(const std::string& name) {
    Shell("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=" + name + " -keyout " + name + ".key -out " +
          name + ".pem");
  }
  void MakePair(const std::string& name, const std::string& authority) {
    std::ofstream(folder_ / (name + ".ext")) << "subjectAltName=IP:127.0.0.1\n";
    Shell("openssl req -newkey rsa:2048 -nodes -subj /CN=" + name + " -keyout " + name + ".key -out " + name + ".csr");
    Shell("openssl x509 -req -days 2 -in " + name + ".csr -CA " + authority + ".pem -CAkey " + authority +
          ".key -CAcreateserial -extfile " + name + ".ext -out " + name + ".pem");
  }
  TlsFiles Files(const std::string& pair) const {
    return {folder_ / (pair + ".pem"), folder_ / (pair + ".key"), folder_ / "ca.pem"};
  }

  std::filesystem::path folder_;
};

TEST_F(MutualTls, LetsInWhoTheAuthoritySignedAndNobodyElse) {
  InfoService service;
  RpcServerOptions options;
  options.address = "0.0.0.0:0";
  options.tls = Files("node");
  const auto server = RpcServer::Start(options, {&service});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = "127.0.0.1:" + std::to_string((*server)->port());
  EXPECT_EQ(VersionFrom(address, Files("node")).value(), "test");
  EXPECT_FALSE(VersionFrom(address, Files("stranger")).ok());
  EXPECT_FALSE(VersionFrom(address).ok());
}

TEST_F(MutualTls, NamesAFileThatIsMissingAndFlagsThatAreNotGiven) {
  InfoService service;
  RpcServerOptions options;
  options.address = "0.0.0.0:0";
  options.tls = Files("nobody");
  EXPECT_THAT(std::string(RpcServer::Start(options, {&service}).status().message()), HasSubstr("nobody.pem"));
  options.tls.private_key.clear();
  EXPECT_THAT(std::string(RpcServer::Start(options, {&service}).status().message()), HasSubstr("--tls-key"));
}

}  // namespace
}  // namespace regroup
