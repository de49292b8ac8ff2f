// Connections between workers, in which each side must be a worker: any certificate of the authority proves membership
// of the cluster, and the name in it tells the role.
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

/// Key of the metadata that holds an attempt's secret.
inline constexpr char kAttemptTokenKey[] = "regroup-attempt-token";

/// Connects lazily, and only to a worker. FAILED_PRECONDITION for an address on another machine when TLS is not set. A
/// dead connection is detected within ten seconds.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenWorkerChannel(const std::string& address, const TlsFiles& tls);

/// Returns OK if the caller is a worker. Without TLS every caller counts as one, because only this machine can reach
/// the server.
absl::Status CheckCallerIsWorker(const grpc::ServerContextBase& context, const TlsFiles& tls);

/// Returns the attempt's secret in the call's metadata; empty without one.
std::string AttemptTokenOf(const grpc::ServerContextBase& context);

}  // namespace regroup
