// A gRPC channel with the habits all clients of Regroup share: keepalive, message limits, quick reconnection, and a
// token with every call.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/rpc/credentials.h"

namespace regroup {

/// How a program proves who it is. Empty means plain text without a name, which only this machine allows.
struct ClientIdentity {
  TlsFiles tls;
  std::string token_file;
};

/// Connects lazily, to one server or to the one of several that leads (TargetOf). FAILED_PRECONDITION for an address on
/// another machine when TLS is not set, so that a token is never sent in plain text. Each channel connects by itself.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& address,
                                                           const ClientIdentity& identity = {});

}  // namespace regroup
