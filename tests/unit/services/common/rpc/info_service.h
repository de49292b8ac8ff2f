// A minimal service, for tests of servers and channels.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "regroup/v1/cluster_service.grpc.pb.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/status.h"

namespace regroup {

/// Stores the caller's address.
class InfoService : public v1::ClusterService::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest*,
                                          v1::ServerInfo* response) override {
    {
      const std::lock_guard lock(mutex_);
      last_peer_ = context->peer();
      last_authorization_.clear();
      const auto found = context->client_metadata().find("authorization");
      if (found != context->client_metadata().end()) {
        last_authorization_.assign(found->second.data(), found->second.size());
      }
    }
    response->set_version("test");
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  std::string last_peer() const {
    const std::lock_guard lock(mutex_);
    return last_peer_;
  }
  std::string last_authorization() const {
    const std::lock_guard lock(mutex_);
    return last_authorization_;
  }

 private:
  mutable std::mutex mutex_;
  std::string last_peer_;
  std::string last_authorization_;
};

/// Makes one call over a new connection.
inline absl::StatusOr<std::string> VersionFrom(const std::string& address, const ClientIdentity& identity = {}) {
  const auto channel = OpenChannel(address, identity);
  if (!channel.ok()) return channel.status();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::ServerInfo info;
  const auto stub = v1::ClusterService::NewStub(*channel);
  const absl::Status status = FromGrpc(stub->GetServerInfo(&context, {}, &info));
  if (!status.ok()) return status;
  return info.version();
}

}  // namespace regroup
