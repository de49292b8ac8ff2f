// A gRPC server with the settings that all servers of Regroup share: bounded memory and messages, no compressed
// requests, keepalive, the standard health service and reflection, an exclusive address, and a measurement of every
// call's latency.
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
#include "services/common/rpc/call_gate.h"
#include "services/common/rpc/connection_limit.h"
#include "services/common/rpc/credentials.h"
#include "services/common/rpc/memory_guard.h"
#include "services/common/rpc/memory_return.h"

namespace regroup {

/// Called when a call ends, from gRPC's threads: "/regroup.v1.JobService/GetJob", its code, its duration.
using CallObserver = std::function<void(std::string_view method, grpc::StatusCode code, double seconds)>;

struct RpcServerOptions {
  /// "host:port" (port 0 picks a free one) or "unix:/path".
  std::string address;
  TlsFiles tls;
  CallObserver observer;
  /// Serves the calls that no service takes; may be null, and must outlive the server.
  CallGate* gate = nullptr;
  /// Longest message; a gate may set lower limits for single calls.
  size_t max_message_bytes = 4 << 20;
  /// Memory for what connections have received and not yet passed on. gRPC keeps a message's bytes until all of them
  /// have arrived, whatever length it announces; above this it ends calls.
  size_t max_memory_bytes = 64 << 20;
  size_t max_metadata_bytes = 16 << 10;
  /// Memory of the whole process above which the connections that cost most are ended; 0: see MemoryGuard. TCP only.
  size_t max_process_bytes = 0;
  /// Maximum number of concurrent calls and streams on one connection.
  int max_streams_per_connection = 1000;
  /// A connection is closed after this time, so that its certificate is checked again. Its calls may still finish
  /// within the grace period; longer streams are cut and reconnect.
  std::chrono::seconds max_connection_age{3600};
  std::chrono::seconds max_connection_age_grace{60};
  /// The youngest connections above this are closed; applies to TCP ports only.
  size_t max_connections = 4096;
  /// The oldest connections of one address that are still in their handshake are closed above this; TCP ports only.
  size_t max_half_open_per_address = 256;
  /// Called once, from any thread, if the server cannot accept connections any more; may be null. TCP ports only.
  std::function<void(const std::string& why)> stopped_accepting;
  /// Time limit for the TLS and HTTP/2 handshakes. A client without a certificate cannot hold a connection for longer.
  std::chrono::milliseconds handshake_timeout{20000};
};

class RpcServer {
 public:
  /// Starts listening; the services must outlive the server. Health answers NOT_SERVING until SetServing(true).
  /// FAILED_PRECONDITION if others can reach the address and TLS is not set; UNAVAILABLE names an address that is not
  /// available.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const RpcServerOptions& options,
                                                          const std::vector<grpc::Service*>& services);

  /// Stops at once, without grace, if Stop was not called.
  ~RpcServer();

  void SetServing(bool serving);

  /// Takes no new calls, and cancels those that have not ended within `grace`.
  void Stop(std::chrono::milliseconds grace);

  /// Returns the port it listens on; 0 for a unix socket.
  int port() const { return port_; }
  /// Returns the address it listens on, with the actual port.
  const std::string& address() const { return address_; }

 private:
  RpcServer() = default;

  std::string address_;
  int port_ = 0;
  std::vector<std::unique_ptr<grpc::Service>> listed_services_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ConnectionLimit> connection_limit_;
  std::unique_ptr<MemoryGuard> memory_guard_;
  MemoryReturn memory_return_;
};

}  // namespace regroup
