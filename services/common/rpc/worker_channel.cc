#include "services/common/rpc/worker_channel.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <vector>

#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/connection_polling.h"

namespace regroup {
namespace {

constexpr int kReconnectMs = 500;
/// Time limit of one connection attempt, TLS included.
constexpr int kConnectMs = 5000;
constexpr int kKeepaliveMs = 6000;
constexpr int kKeepaliveTimeoutMs = 3000;

grpc::ChannelArguments Arguments(bool is_encrypted) {
  grpc::ChannelArguments arguments;
  if (is_encrypted) arguments.SetSslTargetNameOverride(kWorkerName);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenWorkerChannel(const std::string& address, const TlsFiles& tls) {
  PollConnectionsOften();
  REGROUP_ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(address, tls));
  return grpc::CreateCustomChannel(address, credentials, Arguments(tls.IsSet()));
}

absl::Status CheckCallerIsWorker(const grpc::ServerContextBase& context, const TlsFiles& tls) {
  if (!tls.IsSet()) return absl::OkStatus();
  const std::vector<grpc::string_ref> names = context.auth_context()->FindPropertyValues(GRPC_X509_SAN_PROPERTY_NAME);
  if (std::find(names.begin(), names.end(), kWorkerName) != names.end()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
                   "the caller's certificate is not that of a worker: it does not carry the name regroup-worker");
}

std::string AttemptTokenOf(const grpc::ServerContextBase& context) {
  const auto token = context.client_metadata().find(kAttemptTokenKey);
  return token == context.client_metadata().end() ? "" : std::string(token->second.data(), token->second.size());
}

}  // namespace regroup
