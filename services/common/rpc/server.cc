#include "services/common/rpc/server.h"

#include <fmt/format.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "services/common/base/logging.h"
#include "services/common/base/network_address.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/call_observer.h"
#include "services/common/rpc/connection_polling.h"

namespace regroup {
namespace {

constexpr int kKeepaliveMs = 20000;
constexpr int kKeepaliveTimeoutMs = 10000;
constexpr int kShortestPingIntervalMs = 5000;

/// Logs gRPC's own messages at debug level; important errors reach the caller as a status.
void LogForGrpc(gpr_log_func_args* args) { LogDebug(args->message, {{"component", "grpc"}}); }

void EnableStandardServices() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function(LogForGrpc);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

/// Returns why the address cannot be bound, by binding it again: gRPC does not report the reason.
std::string WhyNotBindable(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (address.rfind("unix:", 0) == 0 || colon == std::string::npos) return "";
  std::string host = address.substr(0, colon);
  if (host.size() > 1 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found);
  if (code != 0) return gai_strerror(code);
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int error = fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 ? errno : 0;
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  return error == 0 ? "" : std::strerror(error);
}

absl::Status CannotListen(const std::string& address) {
  const std::string why = WhyNotBindable(address);
  return absl::UnavailableError(fmt::format("cannot listen on {}{}{}", address, why.empty() ? "" : ": ", why));
}

int Milliseconds(std::chrono::seconds time) { return static_cast<int>(std::chrono::milliseconds(time).count()); }

/// Bytes that gRPC reads from a connection before it looks at others. The frames of streams that are opened and reset
/// cost it a hundred times their bytes, so that the default of 4 MiB would cost hundreds before MemoryGuard sees it.
constexpr int kMostReadAtOnce = 16 << 10;

/// Bit of GRPC_COMPRESS_NONE, the only algorithm that requests may use.
constexpr int kNoCompression = 1 << GRPC_COMPRESS_NONE;

/// A compressed request can cost a thousand times its bytes, and gRPC would unpack all of it before it looks at its
/// length. Calls that name an algorithm are answered UNIMPLEMENTED; without the second setting gRPC would unpack a
/// message that arrives together with its call's headers before that answer.
void RefuseCompressedRequests(grpc::ServerBuilder* builder) {
  builder->AddChannelArgument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, kNoCompression);
  builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
}

void SetLimits(const RpcServerOptions& options, grpc::ServerBuilder* builder) {
  RefuseCompressedRequests(builder);
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetResourceQuota(grpc::ResourceQuota("regroup").Resize(options.max_memory_bytes));
  builder->AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kMostReadAtOnce);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(options.max_metadata_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(options.max_connection_age));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Milliseconds(options.max_connection_age_grace));
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              static_cast<int>(options.handshake_timeout.count()));
  // Otherwise two servers could share one port, and each would get some of the calls.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kShortestPingIntervalMs);
}

std::string WithPort(const std::string& address, int port) {
  if (port <= 0 || address.rfind("unix:", 0) == 0) return address;
  return fmt::format("{}:{}", address.substr(0, address.rfind(':')), port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const RpcServerOptions& options,
                                                            const std::vector<grpc::Service*>& services) {
  REGROUP_RETURN_IF_ERROR(CheckAddress(options.address, /*lowest_port=*/0));
  PollConnectionsOften();
  REGROUP_ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(options.address, options.tls));
  EnableStandardServices();
  std::unique_ptr<RpcServer> server(new RpcServer());
  grpc::ServerBuilder builder;
  SetLimits(options, &builder);
  builder.AddListeningPort(options.address, credentials, &server->port_);
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (options.gate != nullptr) {
    builder.RegisterCallbackGenericService(options.gate);
    server->listed_services_ = options.gate->ListedServices();
    for (const auto& service : server->listed_services_) builder.RegisterService(service.get());
  }
  if (options.observer) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
    interceptors.push_back(MakeCallObserverFactory(options.observer));
    builder.experimental().SetInterceptorCreators(std::move(interceptors));
  }
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ < 0) return CannotListen(options.address);
  const bool is_tcp = options.address.rfind("unix:", 0) != 0;
  if (is_tcp) {
    server->connection_limit_ = std::make_unique<ConnectionLimit>(
        server->port_, ConnectionLimits{.most = options.max_connections,
                                        .most_half_open = options.max_half_open_per_address,
                                        .stopped_accepting = options.stopped_accepting});
    server->memory_guard_ = std::make_unique<MemoryGuard>(server->port_, options.max_process_bytes);
  }
  server->address_ = WithPort(options.address, server->port_);
  server->SetServing(false);
  return server;
}

RpcServer::~RpcServer() { Stop(std::chrono::milliseconds(0)); }

void RpcServer::SetServing(bool serving) {
  if (server_ == nullptr) return;
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  if (health != nullptr) health->SetServingStatus(serving);
}

void RpcServer::Stop(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  SetServing(false);
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  connection_limit_.reset();
  memory_guard_.reset();
  server_.reset();
}

}  // namespace regroup
