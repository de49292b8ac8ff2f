#include "services/cli/client.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "services/rpc/status.h"

namespace regroup {
namespace {

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(64 << 20);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

std::string WithPrefix(std::string_view prefix, const std::string& text) {
  return text.starts_with(prefix) ? text : std::string(prefix) + text;
}

}  // namespace

Client::Client(std::string address)
    : address_(std::move(address)),
      channel_(Connect(address_)),
      jobs_(v1::JobService::NewStub(channel_)),
      clusters_(v1::ClusterService::NewStub(channel_)) {}

absl::Status Client::Explain(const grpc::Status& status) const {
  absl::Status error = FromGrpc(status);
  const bool unreachable = ReasonOf(error) == v1::ERROR_REASON_UNSPECIFIED &&
                           (absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error));
  if (!unreachable) return error;
  return absl::UnavailableError(
      fmt::format("the coordinator at {} does not answer ({}); start it, or name another with --coordinator or "
                  "REGROUP_COORDINATOR",
                  address_, status.error_message()));
}

std::string JobName(const std::string& text) { return WithPrefix("jobs/", text); }
std::string WorkerName(const std::string& text) { return WithPrefix("workers/", text); }

}  // namespace regroup
