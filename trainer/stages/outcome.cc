#include "trainer/stages/outcome.h"

#include <fmt/format.h>

#include <string>

#include "services/common/base/machine_errors.h"
#include "services/common/base/task_kinds.h"

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

/// Returns the keys on which the memory of a stage depends; empty if it depends on the model only.
std::string_view KeysOfMemory(v1::TaskKind kind) {
  switch (kind) {
    case v1::TASK_KIND_CALIBRATE:
    case v1::TASK_KIND_REFINE:
      return "calibration.sequence_length";
    case v1::TASK_KIND_RECORD:
      return "layerwise.sequence_length";
    case v1::TASK_KIND_LAYERWISE:
      return "layerwise.batch_sequences, layerwise.sequence_length, layerwise.layers_per_task, or layerwise.precision: "
             "bfloat16";
    case v1::TASK_KIND_FINETUNE:
      return "finetune.micro_batch_sequences, finetune.sequence_length, finetune.shard: all, finetune.recompute: "
             "block, finetune.train, "
             "finetune.teacher: cache, or more finetune.ranks";
    case v1::TASK_KIND_EVALUATE:
      return "evaluation.perplexity.sequence_length, evaluation.latency, or shorter texts of "
             "evaluation.multiple_choice";
    default:
      return "";
  }
}

}  // namespace

absl::Status ExplainMemory(const absl::Status& status, v1::TaskKind kind, std::string_view phase) {
  if (!IsOutOfMemory(status)) return status;
  const std::string_view keys = KeysOfMemory(kind);
  return absl::ResourceExhaustedError(fmt::format(
      "{}{}{}: {}; {}use a worker with more memory, or fewer --slots. `regroup plan` estimates what a job needs",
      WordOf(kind), phase.empty() ? "" : ", ", phase, std::string(status.message()),
      keys.empty() ? "" : fmt::format("make smaller {}, ", keys)));
}

v1::TaskOutcome FailedOutcome(const absl::Status& status) {
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(ClassOf(status.code()));
  outcome.mutable_failure()->set_message(std::string(status.message()));
  return outcome;
}

}  // namespace regroup
