// Connections between workers, where each side must be a worker: any certificate of the authority proves that somebody
// belongs to the cluster, the name in it says as what.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/rpc/credentials.h"

namespace regroup {

/// The host name that the certificate of every worker carries, wherever the worker runs.
inline constexpr char kWorkerName[] = "regroup-worker";

/// Metadata with the secret of an attempt.
inline constexpr char kAttemptTokenKey[] = "regroup-attempt-token";

/// Connects lazily, and only to a worker. FAILED_PRECONDITION for an address on another machine when TLS is not set. A
/// connection that went silent is noticed within ten seconds.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenWorkerChannel(const std::string& address, const TlsFiles& tls);

/// Whether a worker calls; everybody does where the server is without TLS, which only this machine can reach.
absl::Status CheckCallerIsWorker(const grpc::ServerContextBase& context, const TlsFiles& tls);

/// The attempt's secret that the call carries; empty without one.
std::string AttemptTokenOf(const grpc::ServerContextBase& context);

}  // namespace regroup
