#include "services/cli/client.h"

#include <fmt/format.h>

#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"

namespace regroup {

absl::StatusOr<Client> Client::Open(const std::string& address, const ClientIdentity& identity) {
  REGROUP_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(address, identity));
  return Client(address, std::move(channel));
}

Client::Client(std::string address, std::shared_ptr<grpc::Channel> channel)
    : address_(std::move(address)),
      channel_(std::move(channel)),
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

}  // namespace regroup
