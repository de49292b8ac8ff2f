// Holds a job's target against the shape of the source.
#pragma once

#include "absl/status/status.h"
#include "regroup/v1/job.pb.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Returns INVALID_ARGUMENT for a number of KV heads that does not divide the source's, and for target.tensor_parallel
/// if its GPUs cannot share the heads or hold as many KV heads of the result as of the source.
absl::Status CheckTarget(const v1::JobSpec& resolved, const ModelConfig& config);

}  // namespace regroup
