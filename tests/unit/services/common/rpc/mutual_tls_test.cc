// Tests mutual TLS over real sockets: which clients are accepted, which are rejected, and that certificates are
// reloaded without a restart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "services/common/rpc/bearer_token.h"
#include "tests/unit/services/common/rpc/info_service.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::hours kExpired(-1);

class MutualTls : public ::testing::Test {
 protected:
  MutualTls() {
    files_.Make("server");
    files_.Make("client");
  }

  /// Listens on all addresses with the certificate; returns the address at which this machine reaches it.
  std::string Serve(const std::string& certificate) {
    RpcServerOptions options;
    options.address = "0.0.0.0:0";
    options.tls = files_.Files(certificate);
    auto server = RpcServer::Start(options, {&service_});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    return "127.0.0.1:" + std::to_string(server_->port());
  }
  absl::Status StartWith(const TlsFiles& tls) {
    RpcServerOptions options;
    options.address = "0.0.0.0:0";
    options.tls = tls;
    return RpcServer::Start(options, {&service_}).status();
  }

  InfoService service_;
  TestCertificates files_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(MutualTls, LetsInWhoTheAuthoritySigned) {
  EXPECT_EQ(VersionFrom(Serve("server"), files_.Identity("client")).value(), "test");
}

TEST_F(MutualTls, RefusesPlainTextAndCallersWithoutACertificate) {
  const std::string address = Serve("server");
  EXPECT_EQ(VersionFrom(address).status().code(), absl::StatusCode::kUnavailable);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadFile(files_.Path("ca.pem")).value();
  const auto stub = v1::ClusterService::NewStub(grpc::CreateChannel(address, grpc::SslCredentials(options)));
  grpc::ClientContext context;
  v1::ServerInfo info;
  EXPECT_EQ(stub->GetServerInfo(&context, {}, &info).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(MutualTls, RefusesCallersOfAnotherAuthority) {
  files_.MakeStranger("stranger");
  EXPECT_EQ(VersionFrom(Serve("server"), files_.Identity("stranger")).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(MutualTls, RefusesCallersWhoseCertificateIsExpired) {
  files_.Make("late", kExpired);
  EXPECT_EQ(VersionFrom(Serve("server"), files_.Identity("late")).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(MutualTls, DoesNotTalkToAServerOfAnotherAuthorityNorToAnExpiredOne) {
  files_.MakeStranger("stranger");
  EXPECT_FALSE(VersionFrom(Serve("stranger"), files_.Identity("client")).ok());
  files_.Make("late", kExpired);
  EXPECT_FALSE(VersionFrom(Serve("late"), files_.Identity("client")).ok());
}

TEST_F(MutualTls, DoesNotTalkToAServerUnderAnotherName) {
  const std::string address = Serve("server");
  const std::string port = address.substr(address.rfind(':'));
  EXPECT_TRUE(VersionFrom("localhost" + port, files_.Identity("client")).ok());
  EXPECT_FALSE(VersionFrom("127.0.0.2" + port, files_.Identity("client")).ok()) << "not in the certificate";
}

TEST_F(MutualTls, TakesNewCertificatesWithoutARestart) {
  files_.Make("late", kExpired);
  files_.Make("fresh");
  const std::string address = Serve("late");
  EXPECT_FALSE(VersionFrom(address, files_.Identity("client")).ok());
  files_.Replace("late", "fresh");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!VersionFrom(address, files_.Identity("client")).ok()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the server never took its new certificate";
  }
}

TEST_F(MutualTls, NamesTheFileOrTheFlagAtFault) {
  EXPECT_THAT(std::string(StartWith(files_.Files("nobody")).message()), HasSubstr("nobody.pem"));
  TlsFiles tls = files_.Files("server");
  tls.private_key.clear();
  EXPECT_THAT(std::string(StartWith(tls).message()), HasSubstr("--tls-key"));
  tls.private_key = files_.Path("client.key");
  EXPECT_THAT(std::string(StartWith(tls).message()), HasSubstr("client.key is not the key of"));
  tls = files_.Files("server");
  tls.certificate_authority = files_.Path("server.key");
  EXPECT_THAT(std::string(StartWith(tls).message()), HasSubstr("server.key holds no certificate"));
}

TEST_F(MutualTls, SendsTheTokenWithEveryCallAndTakesANewOneWithoutARestart) {
  const std::string token_file = files_.Path("token");
  ASSERT_TRUE(WriteFileAtomically(token_file, "rg-first\n").ok());
  const auto stub = v1::ClusterService::NewStub(*OpenChannel(Serve("server"), files_.Identity("client", token_file)));
  const auto call = [&] {
    grpc::ClientContext context;
    v1::ServerInfo info;
    EXPECT_TRUE(stub->GetServerInfo(&context, {}, &info).ok());
    return service_.last_authorization();
  };
  EXPECT_EQ(call(), "Bearer rg-first");
  ASSERT_TRUE(WriteFileAtomically(token_file, "rg-second\n").ok());
  EXPECT_EQ(call(), "Bearer rg-second");
  std::filesystem::remove(token_file);
  EXPECT_EQ(call(), "Bearer rg-second");
}

TEST_F(MutualTls, RefusesATokenFileThatHoldsNoToken) {
  const std::string token_file = files_.Path("token");
  for (const char* content : {"", "\n", "two\"quotes\n", "caf\xc3\xa9\n"}) {
    ASSERT_TRUE(WriteFileAtomically(token_file, content).ok());
    EXPECT_EQ(ReadTokenFile(token_file).status().code(), absl::StatusCode::kInvalidArgument) << content;
  }
  EXPECT_EQ(OpenChannel("127.0.0.1:1", {{}, files_.Path("none")}).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace regroup
