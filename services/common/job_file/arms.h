// The arms of a job: one combination of settings each. A job without a sweep has exactly one. Pure functions.
//
// Only this file combines a sweep's lists with the job's own settings: an empty list takes the job's own value. All
// functions expect `resolved` with every default filled in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Returns the cross product of the sweep's lists, in the order written, without repetitions. With the model's number
/// of KV heads, an arm that merges no heads has nothing to refit or to train, which makes some arms equal; these are
/// counted once.
std::vector<v1::Arm> ArmsOf(const v1::JobSpec& resolved, std::optional<int32_t> model_kv_heads = std::nullopt);

/// Returns the number of layers of each layerwise task but the last: the spec's, else as many as make at most 8 tasks.
int32_t LayersPerTask(const v1::JobSpec& resolved, int32_t model_layers);

/// Returns the number of combinations without building them: unchecked lists may be long.
size_t CountCombinations(const v1::JobSpec& resolved);

/// Returns true if the sweep lists any value.
bool VariesAnything(const v1::JobSpec& resolved);

/// Returns the numbers of KV heads of all arms, the largest first.
std::vector<int32_t> TargetsOf(const v1::JobSpec& resolved);

/// Returns true if any arm aligns heads by another method than `none`.
bool AnyArmAligns(const v1::JobSpec& resolved);

/// Returns true if any arm refits its output projections.
bool AnyArmRefines(const v1::JobSpec& resolved);

/// Returns true if any arm trains its layers one by one.
bool AnyArmDistillsLayers(const v1::JobSpec& resolved);

/// Returns true if the job measures its models.
bool Measures(const v1::Evaluation& evaluation);

/// Returns true if any arm is fine-tuned.
bool AnyArmTrains(const v1::JobSpec& resolved);

/// Returns true if this arm is fine-tuned.
inline bool Trains(const v1::Arm& arm) { return arm.finetune() != "none"; }

/// Returns true if this arm trains its layers one by one.
inline bool DistillsLayers(const v1::Arm& arm) { return arm.layerwise() == "distill"; }

/// Returns the peak learning rate of this arm's fine-tuning: the job's, else the default of the arm.
double FinetuneRate(const v1::JobSpec& resolved, const v1::Arm& arm);

/// Returns true if this arm has fewer KV heads than the model.
inline bool MergesHeads(const v1::Arm& arm, int32_t model_kv_heads) { return arm.kv_heads() != model_kv_heads; }

}  // namespace regroup
