// Fills in the defaults that job.proto documents. Pure.
#pragma once

#include "regroup/v1/job.pb.h"

namespace regroup {

/// Returns the job with every default filled in; the user's values stay. Resolving twice changes nothing.
///
/// Left unset on purpose:
/// - sequence_length, where the default depends on the model: the trainer takes min(2048, its maximum);
/// - alignment.restore_norm in a sweep over alignment methods, where the default differs by arm: true for principal,
///   false otherwise;
/// - layerwise.learning_rate, where the default depends on the model's width, and layers_per_task, where it depends on
///   its depth;
/// - finetune.learning_rate in a sweep over layerwise methods, where the default differs by arm;
/// - fields without a default: target, output, sweep, gates and measurements that were not requested.
v1::JobSpec ResolveJobSpec(const v1::JobSpec& spec);

/// Returns the default of finetune.learning_rate for a model that has, or has not, been through layerwise distillation.
constexpr double DefaultFinetuneRate(bool after_layerwise) { return after_layerwise ? 2.5e-6 : 1e-5; }

}  // namespace regroup
