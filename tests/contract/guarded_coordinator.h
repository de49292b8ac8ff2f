// A coordinator that listens for other machines and therefore asks for certificates and tokens.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "coordinator/access/token_file.h"
#include "coordinator/api/coordinator.h"
#include "tests/contract/generic_call.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/services/common/rpc/test_certificates.h"

namespace regroup {

/// Returns the settings of a coordinator with the certificate "server" and the file "tokens" among the files.
inline CoordinatorOptions GuardedOptions(const TestCertificates& files) {
  CoordinatorOptions options;
  options.listen = "0.0.0.0:0";
  options.metrics_listen = "";
  options.state_folder = files.Path("state");
  options.tls = files.Files("server");
  options.token_file = files.Path("tokens");
  return options;
}

/// Such a coordinator with a token for callers of every role, a worker w1 and a job "alices" of the submitter alice.
class GuardedCoordinator {
 protected:
  void Start() {
    for (const char* name : {"server", "client"}) files_.Make(name);
    for (const auto& [name, role] : std::map<std::string, Role>{{"viewer", Role::kViewer},
                                                                {"alice", Role::kSubmitter},
                                                                {"bob", Role::kSubmitter},
                                                                {"root", Role::kAdmin},
                                                                {"node", Role::kWorker}}) {
      tokens_[name] = AddToken(files_.Path("tokens"), name, role, role == Role::kWorker ? "w1" : "").value();
    }
    CoordinatorOptions options = GuardedOptions(files_);
    // The folders of SmallSpec.
    options.allowed_paths.data_roots = {"/models", "/data"};
    auto started = Coordinator::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    channel_ = Connect("client");
    v1::SubmitJobRequest submission;
    submission.set_job_id("alices");
    *submission.mutable_spec() = SmallSpec();
    ASSERT_TRUE(CallAs("alice", "JobService/SubmitJob", submission).ok());
    v1::RegisterWorkerRequest worker;
    worker.set_worker("w1");
    worker.set_incarnation(1);
    worker.set_slots(1);
    worker.set_version(REGROUP_VERSION);
    ASSERT_TRUE(CallAs("node", "WorkerService/RegisterWorker", worker).ok());
  }

  std::shared_ptr<grpc::Channel> Connect(const std::string& certificate) {
    return OpenChannel("127.0.0.1:" + std::to_string(coordinator_->port()), files_.Identity(certificate)).value();
  }
  absl::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                    const google::protobuf::Message& request, const std::string& token) {
    return GenericCall(channel, "/regroup.v1." + method, request, token);
  }
  absl::Status CallAs(const std::string& name, const std::string& method, const google::protobuf::Message& request) {
    return Call(channel_, method, request, tokens_.at(name));
  }

  TestCertificates files_;
  std::map<std::string, std::string> tokens_;
  std::unique_ptr<Coordinator> coordinator_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace regroup
