// A gRPC channel with the habits all clients of Regroup share: keepalive, message limits, quick reconnection.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/rpc/credentials.h"

namespace regroup {

/// Connects lazily. FAILED_PRECONDITION for an address on another machine when TLS is not set. Each channel has its own
/// connection.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& address, const TlsFiles& tls = {});

}  // namespace regroup
