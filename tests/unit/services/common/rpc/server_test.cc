#include "services/common/rpc/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "tests/unit/services/common/rpc/info_service.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

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
  for (const char* address : {"0.0.0.0:7447", "[::]:7447", "example.org:7447", "127.evil.org:7447"}) {
    EXPECT_EQ(StartOn(address, &service).status().code(), absl::StatusCode::kFailedPrecondition) << address;
    EXPECT_EQ(OpenChannel(address).status().code(), absl::StatusCode::kFailedPrecondition) << address;
  }
}

TEST(RpcServer, RefusesMessagesAndHeadersThatAreTooLong) {
  InfoService service;
  RpcServerOptions options;
  options.address = "127.0.0.1:0";
  options.max_message_bytes = 1000;
  const auto server = RpcServer::Start(options, {&service});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto stub = v1::ClusterService::NewStub(*OpenChannel((*server)->address()));
  v1::GetServerInfoRequest request;
  v1::ServerInfo info;
  {
    grpc::ClientContext context;
    EXPECT_TRUE(stub->GetServerInfo(&context, request, &info).ok());
  }
  {
    v1::ServerInfo unknown;
    unknown.set_version(std::string(2000, 'x'));
    request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(99, unknown.SerializeAsString());
    grpc::ClientContext context;
    EXPECT_EQ(stub->GetServerInfo(&context, request, &info).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  grpc::ClientContext context;
  context.AddMetadata("x-long", std::string(20000, 'x'));
  EXPECT_FALSE(stub->GetServerInfo(&context, {}, &info).ok());
}

TEST(RpcServer, RefusesCompressedRequestsWithoutUnpackingThem) {
  InfoService service;
  RpcServerOptions options;
  options.address = "127.0.0.1:0";
  options.max_message_bytes = 64 << 20;
  const auto server = RpcServer::Start(options, {&service});
  const auto stub = v1::ClusterService::NewStub(*OpenChannel((*server)->address()));
  v1::GetServerInfoRequest request;
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(99, std::string(16 << 20, 'x'));
  v1::ServerInfo info;
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    const grpc::Status refused = stub->GetServerInfo(&context, request, &info);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_THAT(refused.error_message(), HasSubstr("is disabled"));
  }
  EXPECT_EQ(service.last_peer(), "") << "a compressed request reached the service";
  grpc::ClientContext plain;
  EXPECT_TRUE(stub->GetServerInfo(&plain, request, &info).ok());
}

TEST(RpcServer, EndsConnectionsThatAreOldWithoutFailingACall) {
  InfoService service;
  RpcServerOptions options;
  options.address = "127.0.0.1:0";
  options.max_connection_age = std::chrono::seconds(1);
  const auto server = RpcServer::Start(options, {&service});
  const auto stub = v1::ClusterService::NewStub(*OpenChannel((*server)->address()));
  std::set<std::string> peers;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (peers.size() < 3 && std::chrono::steady_clock::now() < deadline) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::ServerInfo info;
    ASSERT_TRUE(stub->GetServerInfo(&context, {}, &info).ok());
    peers.insert(service.last_peer());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(peers.size(), 3u);
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

}  // namespace
}  // namespace regroup
