// What a job would need and save, before anything is run: for `regroup plan`.
#pragma once

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/plan.pb.h"

namespace regroup {

struct PlanOptions {
  /// Floating-point operations per second of one rank; 0 measures this machine for a second.
  double flops_per_second = 0;
};

/// Plans a job with all defaults filled in; every field is set that the job has a figure for. Errors: those of opening
/// the source; INVALID_ARGUMENT for KV heads that do not divide the source's.
absl::StatusOr<v1::JobPlan> PlanJob(const v1::JobSpec& resolved, const PlanOptions& options);

}  // namespace regroup
