#include "coordinator/access/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "coordinator/access/init_folder.h"
#include "coordinator/access/worker_binding.h"
#include "services/common/base/files.h"
#include "services/common/rpc/certificates.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TokenFileTest : public ::testing::Test {
 protected:
  TokenFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tokens_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    file_ = folder_ / "tokens";
  }
  ~TokenFileTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  std::filesystem::path file_;
};

TEST_F(TokenFileTest, NeverHoldsTheTokenItself) {
  const std::string token = AddToken(file_, "alice", Role::kSubmitter).value();
  EXPECT_EQ(token.size(), 67u);
  EXPECT_THAT(ReadFile(file_).value(), ::testing::Not(HasSubstr(token.substr(3))));
  const auto tokens = ReadTokens(file_).value();
  ASSERT_EQ(tokens.size(), 1u);
  EXPECT_EQ(tokens[0].name, "alice");
  EXPECT_EQ(tokens[0].role, Role::kSubmitter);
  EXPECT_NE(AddToken(file_, "bob", Role::kSubmitter).value(), token);
}

TEST_F(TokenFileTest, KeepsEveryTokenThatManyAddAtOnce) {
  std::vector<std::thread> adders;
  for (int i = 0; i < 8; ++i) {
    adders.emplace_back([&, i] { EXPECT_TRUE(AddToken(file_, "n" + std::to_string(i), Role::kViewer).ok()); });
  }
  for (std::thread& adder : adders) adder.join();
  EXPECT_EQ(ReadTokens(file_)->size(), 8u);
}

TEST_F(TokenFileTest, RefusesNamesThatAreTakenOrOfAnotherForm) {
  ASSERT_TRUE(AddToken(file_, "alice", Role::kViewer).ok());
  EXPECT_EQ(AddToken(file_, "alice", Role::kAdmin).status().code(), absl::StatusCode::kAlreadyExists);
  for (const char* name : {"", "Alice", "a b", "a\nb", "a/b"}) {
    EXPECT_EQ(AddToken(file_, name, Role::kViewer).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(RemoveToken(file_, "bob").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(RemoveToken(file_, "alice").ok());
  EXPECT_EQ(ReadTokens(file_)->size(), 0u);
}

TEST_F(TokenFileTest, BindsAWorkersTokenToItsOwnNameUnlessToldOtherwise) {
  ASSERT_TRUE(AddToken(file_, "node-1", Role::kWorker).ok());
  ASSERT_TRUE(AddToken(file_, "pods", Role::kWorker, "regroup-worker-*").ok());
  ASSERT_TRUE(AddToken(file_, "alice", Role::kAdmin).ok());
  const auto bound = [&] {
    std::vector<std::string> workers;
    const std::vector<TokenEntry> tokens = ReadTokens(file_).value();
    for (const TokenEntry& token : tokens) workers.push_back(BoundWorker(token));
    return workers;
  };
  EXPECT_THAT(bound(), ElementsAre("node-1", "regroup-worker-*", ""));
  ASSERT_TRUE(BindToken(file_, "node-1", "node-2").ok());
  EXPECT_THAT(bound(), ElementsAre("node-2", "regroup-worker-*", ""));
  EXPECT_EQ(BindToken(file_, "bob", "node-2").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(BindToken(file_, "alice", "node-2").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AddToken(file_, "bob", Role::kViewer, "node-3").status().code(), absl::StatusCode::kInvalidArgument);
  for (const char* worker : {"*", "node*1", "Node", "a b", "a/*", "**"}) {
    EXPECT_EQ(AddToken(file_, "bob", Role::kWorker, worker).status().code(), absl::StatusCode::kInvalidArgument)
        << worker;
    EXPECT_EQ(BindToken(file_, "node-1", worker).code(), absl::StatusCode::kInvalidArgument) << worker;
  }
  EXPECT_THAT(bound(), ElementsAre("node-2", "regroup-worker-*", ""));
}

TEST_F(TokenFileTest, ReadsTheTokensOfAnOlderRelease) {
  const std::string digest(64, 'a');
  ASSERT_TRUE(WriteFileAtomically(file_, "workers worker " + digest + " 2026-11-28T00:00:00Z\n").ok());
  const auto tokens = ReadTokens(file_).value();
  EXPECT_EQ(BoundWorker(tokens.at(0)), "workers");
}

TEST(WorkerBinding, CoversOneWorkerOrAllWithAPrefix) {
  const auto speaks = [](const std::string& binding, const std::string& worker) {
    return CheckSpeaksFor({.name = "t", .role = Role::kWorker, .worker = binding}, worker).ok();
  };
  EXPECT_TRUE(speaks("node-1", "node-1"));
  EXPECT_FALSE(speaks("node-1", "node-11"));
  EXPECT_FALSE(speaks("node-1", ""));
  EXPECT_TRUE(speaks("node-*", "node-11"));
  EXPECT_FALSE(speaks("node-*", "other-1"));
  EXPECT_FALSE(speaks("node-*", "node"));
  EXPECT_FALSE(speaks("", "")) << "a token without a binding speaks for nobody";
  EXPECT_TRUE(CheckSpeaksFor({}, "node-1").ok()) << "without tokens every caller of this machine may";
  const absl::Status refusal = CheckSpeaksFor({.name = "t", .role = Role::kWorker, .worker = "w1"}, "w2");
  EXPECT_THAT(std::string(refusal.message()), HasSubstr("token bind t --worker-prefix"));
  EXPECT_EQ(MakeWorkerBinding("node-1", "").value(), "node-1");
  EXPECT_EQ(MakeWorkerBinding("", "node-").value(), "node-*");
  EXPECT_FALSE(MakeWorkerBinding("node-1", "node-").ok());
  EXPECT_FALSE(MakeWorkerBinding("", "Node").ok());
}

TEST_F(TokenFileTest, NamesTheLineThatCannotBeRead) {
  ASSERT_TRUE(AddToken(file_, "alice", Role::kViewer).ok());
  const std::string good = ReadFile(file_).value();
  for (const char* bad : {"bob root 0123", "bob",
                          "bob admin "
                          "zz 2026"}) {
    ASSERT_TRUE(WriteFileAtomically(file_, good + bad + "\n").ok());
    EXPECT_THAT(std::string(ReadTokens(file_).status().message()), HasSubstr("tokens:3")) << bad;
  }
}

TEST_F(TokenFileTest, InitMakesKeysThatOnlyTheOwnerReadsAndNothingTwice) {
  const InitOptions options{.folder = folder_ / "new", .hosts = {"node7", "10.0.0.7"}};
  ASSERT_TRUE(InitFolder(options).ok());
  for (const char* name : {"authority", "coordinator", "worker", "client"}) {
    const std::filesystem::path key = options.folder / (std::string(name) + ".key");
    struct stat info {};
    ASSERT_EQ(stat(key.c_str(), &info), 0) << key;
    EXPECT_EQ(info.st_mode & 077u, 0u) << key;
    EXPECT_TRUE(KeyFits(ReadFile(options.folder / (std::string(name) + ".pem")).value(), ReadFile(key).value()));
  }
  EXPECT_EQ(ReadTokens(options.folder / "tokens")->at(0).role, Role::kAdmin);
  EXPECT_EQ(InitFolder(options).status().code(), absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace regroup
