// Errors as absl::Status with a machine-readable reason.
//
// Every error of the API carries one google.rpc.ErrorInfo (an ErrorReason) and, for bad input, a google.rpc.BadRequest,
// as payloads of the status; services/common/rpc/status.h sends them over gRPC. All functions are pure and may be
// called from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "regroup/v1/error_reason.pb.h"

namespace regroup {

/// An error in one field: its path in the job file ("finetune.steps"), and what to write instead.
using FieldViolation = google::rpc::BadRequest::FieldViolation;

/// Makes an error with its reason and, for bad input, the fields at fault.
absl::Status MakeError(absl::StatusCode code, v1::ErrorReason reason, std::string_view message,
                       const std::vector<FieldViolation>& violations = {});

/// Returns INVALID_ARGUMENT with reason INVALID_FIELD. The message is the violations' text, one per line.
absl::Status InvalidFields(const std::vector<FieldViolation>& violations);

/// Returns the reason of an error made here or received; ERROR_REASON_UNSPECIFIED if it carries none.
v1::ErrorReason ReasonOf(const absl::Status& status);

/// Returns the fields at fault; empty if the error names none.
std::vector<FieldViolation> ViolationsOf(const absl::Status& status);

}  // namespace regroup
