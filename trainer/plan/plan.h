// Estimates what a job needs and what it saves, before anything runs, for `regroup plan`.
#pragma once

#include <c10/core/Device.h>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/plan.pb.h"
#include "trainer/model_folder/source_model.h"

namespace regroup {

struct PlanOptions {
  /// Floating-point operations per second of one rank; if 0, the rate is measured on this machine for about a second.
  double flops_per_second = 0;
  /// Kind of device for which the job is planned.
  at::Device device = at::kCPU;
  /// Bytes of memory of a GPU; 0 if unknown.
  double gpu_memory_bytes = 0;
  /// True if that is the memory of this machine's GPUs and not stated by the caller.
  bool gpu_memory_is_of_machine = false;
  /// True if the job will run on machines like this one.
  bool runs_here = true;
};

/// Returns the plan of a job whose defaults are filled in; sets every field for which the job has a figure.
/// INVALID_ARGUMENT for a target that CheckTarget refuses.
absl::StatusOr<v1::JobPlan> PlanJob(const v1::JobSpec& resolved, const SourceModel& source, const PlanOptions& options);

}  // namespace regroup
