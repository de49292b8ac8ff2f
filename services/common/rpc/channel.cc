#include "services/common/rpc/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "services/common/base/status_macros.h"
#include "services/common/rpc/bearer_token.h"
#include "services/common/rpc/connection_polling.h"
#include "services/common/rpc/target.h"

namespace regroup {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Reconnect to a restarted coordinator within a second or two, not after minutes of backoff.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // Also the time limit of one attempt, TLS included, which can take more than a second on a busy machine. The kernel
  // retries an address that does not answer after 1 and 3 s, so an address that is back is found in time.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Ignore proxies from the environment: both ends belong to Regroup.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

/// Returns the address that decides how the channel must be protected.
const std::string& MostExposed(const Target& target) {
  const auto exposed = std::find_if_not(target.addresses.begin(), target.addresses.end(), IsLocalAddress);
  return exposed == target.addresses.end() ? target.addresses.front() : *exposed;
}

/// Connects to all servers and calls only one whose health service answers SERVING; probes each often, because a
/// machine that failed does not close its connections.
void FollowTheLeader(const Target& target, bool has_tls, grpc::ChannelArguments* arguments) {
  arguments->SetServiceConfigJSON(
      R"({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})");
  arguments->SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 6000);
  arguments->SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
  arguments->SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000);
  if (has_tls && !target.name.empty()) arguments->SetSslTargetNameOverride(target.name);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& address, const ClientIdentity& identity) {
  PollConnectionsOften();
  REGROUP_ASSIGN_OR_RETURN(const Target target, TargetOf(address));
  REGROUP_ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(MostExposed(target), identity.tls));
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!identity.token_file.empty()) {
    REGROUP_ASSIGN_OR_RETURN(std::string token, ReadTokenFile(identity.token_file));
    interceptors.push_back(MakeTokenSender(identity.token_file, std::move(token)));
  }
  grpc::ChannelArguments arguments = Arguments();
  if (target.has_several) FollowTheLeader(target, identity.tls.IsSet(), &arguments);
  return grpc::experimental::CreateCustomChannelWithInterceptors(target.uri, credentials, arguments,
                                                                 std::move(interceptors));
}

}  // namespace regroup
