// Errors on their way through gRPC: absl::Status inside the programs, grpc::Status on the wire, nothing lost between.
//
// Every error of the API carries one google.rpc.ErrorInfo (a machine-readable ErrorReason) and, for bad input, a
// google.rpc.BadRequest. Inside the programs they are payloads of the absl::Status; on the wire they are the details of
// a google.rpc.Status, as every gRPC client expects. All functions are pure and may be called from any thread.
#pragma once

#include <grpcpp/support/status.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "regroup/v1/error_reason.pb.h"

namespace regroup {

/// What is wrong with one field: its path in the job file, and what to write instead.
using FieldViolation = google::rpc::BadRequest::FieldViolation;

/// An error with its reason and, for bad input, the fields at fault.
absl::Status MakeError(absl::StatusCode code, v1::ErrorReason reason, std::string_view message,
                       const std::vector<FieldViolation>& violations = {});

/// INVALID_ARGUMENT with reason INVALID_FIELD. The message is the violations' own text, one a line.
absl::Status InvalidFields(const std::vector<FieldViolation>& violations);

/// The reason of an error made here or received; ERROR_REASON_UNSPECIFIED where there is none.
v1::ErrorReason ReasonOf(const absl::Status& status);

/// The fields at fault; empty where the error names none.
std::vector<FieldViolation> ViolationsOf(const absl::Status& status);

/// Payloads become error details. A payload that is not a google.rpc message is dropped.
grpc::Status ToGrpc(const absl::Status& status);

/// The inverse of ToGrpc. Details that cannot be parsed are dropped, the code and the message are kept.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace regroup
