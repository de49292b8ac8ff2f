// What fine-tuning needs in memory, told by `regroup plan` and checked before a model is loaded.
#pragma once

#include "absl/status/status.h"
#include "regroup/v1/job.pb.h"
#include "trainer/nn/model_config.h"
#include "trainer/nn/window_runner.h"
#include "trainer/plan/plan_estimate.h"

namespace regroup {

/// Bytes of this program with its libraries, as it stands.
double ProgramBytes();

/// Memory of this machine, or of its container where that has less.
double MachineBytes();

/// finetune.recompute as the forward pass takes it.
Recompute RecomputeOf(const v1::Finetune& finetune);

/// The memory of a rank follows from these by TrainingBytes.
PlannedTraining PlanTraining(const v1::Finetune& finetune, const ModelConfig& config, int64_t kv_heads, bool gated,
                             int64_t element_bytes);

/// INVALID_ARGUMENT if the ranks that run on this machine need more than it has: they would be killed in the middle of
/// the first step. Names the settings that help.
absl::Status CheckTrainingMemory(const ModelConfig& config, int64_t parameters, const PlannedTraining& training,
                                 int64_t ranks_here);

}  // namespace regroup
