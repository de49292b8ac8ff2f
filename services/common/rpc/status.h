// Converts errors between absl::Status inside the programs and grpc::Status on the wire, without loss.
//
// The payloads of the absl::Status (services/common/base/error.h) are the details of a google.rpc.Status on the wire,
// as every gRPC client expects. Both functions are pure and may be called from any thread.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace regroup {

/// Turns payloads into error details. A payload that is not a google.rpc message is dropped.
grpc::Status ToGrpc(const absl::Status& status);

/// Converts back. Details that cannot be parsed are dropped; the code and the message are kept.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace regroup
