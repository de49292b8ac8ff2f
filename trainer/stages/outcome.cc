#include "trainer/stages/outcome.h"

#include <string>

namespace regroup {
namespace {

v1::FailureClass ClassOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return v1::FAILURE_CLASS_USER;
    // A missing file is treated like a corrupt one.
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
      return v1::FAILURE_CLASS_DATA;
    case absl::StatusCode::kOutOfRange:
      return v1::FAILURE_CLASS_QUALITY_GATE;
    // The disk or the memory is full: another machine, or this one later, may have room.
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return v1::FAILURE_CLASS_INFRA;
    default:
      return v1::FAILURE_CLASS_INTERNAL;
  }
}

}  // namespace

v1::TaskOutcome FailedOutcome(const absl::Status& status) {
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(ClassOf(status.code()));
  outcome.mutable_failure()->set_message(std::string(status.message()));
  return outcome;
}

}  // namespace regroup
