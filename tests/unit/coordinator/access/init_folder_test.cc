// Tests that each certificate of InitFolder can play its own part and no other.
#include "coordinator/access/init_folder.h"

#include <gtest/gtest.h>

#include "services/common/rpc/worker_channel.h"
#include "tests/unit/services/common/rpc/info_service.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {
namespace {

class InitFolderTest : public ::testing::Test {
 protected:
  InitFolderTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "keys_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    EXPECT_TRUE(InitFolder({.folder = folder_ / "keys", .hosts = {"node7"}}).ok());
  }
  ~InitFolderTest() override { std::filesystem::remove_all(folder_); }

  TlsFiles Files(const std::string& name) const {
    return {.certificate = folder_ / "keys" / (name + ".pem"),
            .private_key = folder_ / "keys" / (name + ".key"),
            .certificate_authority = folder_ / "keys" / "authority.pem"};
  }
  /// Serves with one certificate on all addresses; returns the address at which this machine reaches it.
  std::string Serve(const TlsFiles& tls) {
    RpcServerOptions options;
    options.address = "0.0.0.0:0";
    options.tls = tls;
    server_ = RpcServer::Start(options, {&service_}).value();
    return "localhost:" + std::to_string(server_->port());
  }
  absl::Status CallAs(const std::string& client, const std::string& address) {
    return VersionFrom(address, {.tls = Files(client)}).status();
  }

  std::filesystem::path folder_;
  InfoService service_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(InitFolderTest, MakesACoordinatorThatClientsAndWorkersCall) {
  const std::string address = Serve(Files("coordinator"));
  EXPECT_TRUE(CallAs("client", address).ok());
  EXPECT_TRUE(CallAs("worker", address).ok());
  EXPECT_FALSE(CallAs("coordinator", address).ok()) << "a server's certificate is not a client's";
}

TEST_F(InitFolderTest, MakesNoOtherCertificateThatCanPlayTheCoordinator) {
  for (const char* name : {"worker", "client"}) EXPECT_FALSE(CallAs("client", Serve(Files(name))).ok()) << name;
}

TEST_F(InitFolderTest, MakesWorkersThatServeOneAnother) {
  const std::string address = Serve(Files("worker"));
  const auto stub = v1::ClusterService::NewStub(OpenWorkerChannel(address, Files("worker")).value());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::ServerInfo info;
  const grpc::Status status = stub->GetServerInfo(&context, {}, &info);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

// Releases up to 0.2 put the coordinator's names into it.
TEST(OldWorkerCertificate, CannotPlayTheCoordinator) {
  TestCertificates files;
  files.Make("client");
  files.MakeWorkerOf("worker", {"localhost", "127.0.0.1", kWorkerName});
  InfoService service;
  RpcServerOptions options;
  options.address = "0.0.0.0:0";
  options.tls = files.Files("worker");
  const auto server = RpcServer::Start(options, {&service}).value();
  EXPECT_FALSE(VersionFrom("localhost:" + std::to_string(server->port()), files.Identity("client")).ok());
}

}  // namespace
}  // namespace regroup
