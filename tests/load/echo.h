// A bare gRPC server that returns the bytes it is given, and its load: what gRPC and TLS alone cost on this machine.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/rpc/credentials.h"
#include "tests/load/connection.h"
#include "tests/load/open_loop.h"

namespace regroup {

struct EchoServerOptions {
  std::string address;
  TlsFiles tls;
  /// Gets the port once it is open.
  std::string port_file;
};

/// Serves until the process is ended.
absl::Status ServeEcho(const EchoServerOptions& options);

/// Sends LoadRequest's bytes in an open loop.
absl::StatusOr<LatencyReport> LoadEcho(const LoadOptions& options, double per_second, double seconds);

}  // namespace regroup
