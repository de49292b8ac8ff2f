// What a job would need and save, before anything is run: for `regroup plan`.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"

namespace regroup {

struct PlanOptions {
  /// Floating-point operations per second of one rank; 0 measures this machine for a second.
  double flops_per_second = 0;
};

/// From a JobSpec with all defaults filled in. {"model", "parameters", "kv_bytes_per_token", "tokens", "flops",
/// "memory", "storage_bytes", "seconds", "notes"}; bytes and operations come from shapes, the size of the running
/// program and the speed from this machine. Errors: those of opening the source; INVALID_ARGUMENT for KV heads that do
/// not divide the source's.
absl::StatusOr<nlohmann::ordered_json> PlanJob(const v1::JobSpec& spec, const PlanOptions& options);

}  // namespace regroup
