// A bare gRPC server that echoes its input, and its load, to measure the cost of gRPC and TLS alone on this machine.
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
  /// The file to which the port is written once it is open.
  std::string port_file;
};

/// Serves until the process ends.
absl::Status ServeEcho(const EchoServerOptions& options);

/// Sends LoadRequest's bytes in an open loop.
absl::StatusOr<LatencyReport> LoadEcho(const LoadOptions& options, double per_second, double seconds);

}  // namespace regroup
