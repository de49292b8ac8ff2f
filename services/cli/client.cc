#include "services/cli/client.h"

#include <fmt/format.h>

#include <cstdlib>

#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/trace_parent.h"
#include "services/common/rpc/status.h"

namespace regroup {

absl::StatusOr<Client> Client::Open(const std::string& address, const ClientIdentity& identity) {
  REGROUP_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(address, identity));
  return Client(address, std::move(channel), identity.tls.IsSet());
}

Client::Client(std::string address, std::shared_ptr<grpc::Channel> channel, bool uses_tls)
    : address_(std::move(address)),
      uses_tls_(uses_tls),
      channel_(std::move(channel)),
      jobs_(v1::JobService::NewStub(channel_)),
      clusters_(v1::ClusterService::NewStub(channel_)) {}

absl::StatusOr<v1::Job> Client::Submit(const v1::SubmitJobRequest& request, const std::string& traceparent) const {
  grpc::ClientContext context;
  if (!traceparent.empty()) context.AddMetadata(kTraceparentKey, traceparent);
  return Call(&JobStub::SubmitJob, request, context);
}

absl::Status Client::Explain(const grpc::Status& status) const {
  absl::Status error = FromGrpc(status);
  const bool unreachable = ReasonOf(error) == v1::ERROR_REASON_UNSPECIFIED &&
                           (absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error));
  if (!unreachable) return error;
  return absl::UnavailableError(
      fmt::format("cannot reach the coordinator at {} ({}); start it, or name another with --coordinator or "
                  "REGROUP_COORDINATOR{}",
                  address_, status.error_message(),
                  uses_tls_ ? "; if it runs, check that the files of --tls-certificate, --tls-key and --tls-authority "
                              "are of its authority and have not expired"
                            : "; if it runs with certificates, give --tls-certificate, --tls-key and --tls-authority"));
}

std::string TraceparentOfEnvironment() {
  const char* const value = std::getenv(kTraceparentVariable);
  return value != nullptr && IsTraceparent(value) ? value : "";
}

}  // namespace regroup
