// The arms of a job: one combination of settings each. A job without a sweep has exactly one. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// The cross product of the sweep's lists, in the order written, without repetitions; an unlisted setting has the
/// job's own value. With a model, an arm that merges no heads has nothing to refit or to train, which makes some arms
/// equal; these are counted once. `resolved` has every default filled in.
std::vector<v1::Arm> ArmsOf(const v1::JobSpec& resolved, const v1::ModelSummary* model);

/// Whether the arm has fewer KV heads than the model.
bool MergesHeads(const v1::Arm& arm, const v1::ModelSummary& model);

/// What decides the transforms of the arm's heads, for example "k2-procrustes".
std::string AlignmentName(const v1::Arm& arm);

/// Everything that distinguishes the arm, for example "k2-procrustes-l0" or "k2-principal-refined-none".
std::string ArmName(const v1::Arm& arm);

}  // namespace regroup
