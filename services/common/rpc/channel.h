// Opens a gRPC channel with the settings that all clients of Regroup share: keepalive, message limits, quick
// reconnection, and a token with every call.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/rpc/credentials.h"

namespace regroup {

/// Credentials of a program. Empty means plain text without authentication, which is allowed on this machine only.
struct ClientIdentity {
  TlsFiles tls;
  std::string token_file;
};

/// Connects lazily, to one server or to the leader of several (TargetOf). FAILED_PRECONDITION for an address on another
/// machine when TLS is not set, so that a token is never sent in plain text. Each channel has its own connection.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& address,
                                                           const ClientIdentity& identity = {});

}  // namespace regroup
