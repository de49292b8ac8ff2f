// Estimates the memory that fine-tuning needs, which `regroup plan` shows and which is checked before a model is
// loaded.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "regroup/v1/job.pb.h"
#include "trainer/nn/model_config.h"
#include "trainer/nn/window_runner.h"
#include "trainer/plan/plan_estimate.h"

namespace regroup {

/// Returns the bytes that this program and its libraries take now.
double ProgramBytes();

/// Returns the memory of this machine, or the container's limit if that is lower.
double MachineBytes();

/// Returns true if the job trains a whole attention and nothing else: as it says, or by default with experts.
bool TrainsAttentionOnly(const v1::Finetune& finetune, const ModelConfig& config);

/// Returns the kinds of sharding that the job permits, those that send least first: one, or several for `shard: auto`.
std::vector<Sharding> AllowedSharding(const v1::Finetune& finetune);

/// Sets what is sharded, and with it what the backward pass recomputes: as the job says, but blocks whose weights are
/// sliced where other weights are made of them (gates, adapters), and where `shard: auto` slices them to save memory.
void SetSharding(Sharding sharding, const v1::Finetune& finetune, PlannedTraining& training);

/// Returns the quantities from which TrainingBytes computes the memory of a rank, with the first of AllowedSharding.
PlannedTraining PlanTraining(const v1::JobSpec& spec, const ModelConfig& config, int64_t kv_heads, bool gated,
                             at::Device device);

/// Bytes of a GPU that a rank cannot use: CUDA's own, the workspaces of its libraries, and gaps in its allocator.
inline constexpr double kGpuReserveBytes = 1.5 * (int64_t{1} << 30);

/// Returns INVALID_ARGUMENT, with the settings that reduce memory, if the ranks on this machine need more than it has:
/// they would be killed in the middle of the first step.
absl::Status CheckTrainingMemory(const ModelConfig& config, int64_t parameters, const PlannedTraining& training,
                                 int64_t ranks_here);

/// Largest relative error of TrainingBytes.
inline constexpr double kEstimateError = 0.15;

/// Does the same for a rank on a GPU with this memory. `allowance` is the share by which the estimate may exceed it:
/// with kEstimateError only what cannot fit is refused, and a rank that runs out of memory after all says so.
absl::Status CheckGpuTrainingMemory(const ModelConfig& config, int64_t parameters, const PlannedTraining& training,
                                    double gpu_bytes, double allowance);

}  // namespace regroup
