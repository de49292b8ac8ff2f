// A gRPC server with the habits all servers of Regroup share: bounded memory and messages, keepalive, the standard
// health service and reflection, an address nobody else listens on, and a look at every call's latency.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/rpc/connection_limit.h"
#include "services/common/rpc/credentials.h"

namespace regroup {

/// Called when a call ends, from gRPC's threads: "/regroup.v1.JobService/GetJob", its code, its duration.
using CallObserver = std::function<void(std::string_view method, grpc::StatusCode code, double seconds)>;

struct RpcServerOptions {
  /// "host:port" (port 0 takes a free one) or "unix:/path".
  std::string address;
  TlsFiles tls;
  CallObserver observer;
  size_t max_message_bytes = 16 << 20;
  size_t max_memory_bytes = 256 << 20;
  size_t max_metadata_bytes = 16 << 10;
  /// Calls and streams at once on one connection.
  int max_streams_per_connection = 1000;
  /// A connection ends after this time, so that its certificate is looked at again; its calls may still end within the
  /// grace, longer streams are cut and come back.
  std::chrono::seconds max_connection_age{3600};
  std::chrono::seconds max_connection_age_grace{60};
  /// The youngest above this are ended; of a TCP port only.
  size_t max_connections = 4096;
  /// Time for TLS and HTTP/2 to be agreed on. Whoever has no certificate holds a connection for no longer.
  std::chrono::milliseconds handshake_timeout{20000};
};

class RpcServer {
 public:
  /// Starts listening; the services must outlive the server. Health answers NOT_SERVING until SetServing(true).
  /// FAILED_PRECONDITION if others can reach the address and TLS is not set; UNAVAILABLE naming the address if it
  /// cannot be had.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const RpcServerOptions& options,
                                                          const std::vector<grpc::Service*>& services);

  /// Stops at once, without grace, if Stop was not called.
  ~RpcServer();

  void SetServing(bool serving);

  /// Takes no new calls, and cancels those that have not ended within `grace`.
  void Stop(std::chrono::milliseconds grace);

  /// The port it listens on; 0 for a unix socket.
  int port() const { return port_; }
  /// Where it listens, with the port that was taken.
  const std::string& address() const { return address_; }

 private:
  RpcServer() = default;

  std::string address_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ConnectionLimit> connection_limit_;
};

}  // namespace regroup
