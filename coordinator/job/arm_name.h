// The names of a sweep's arms in the ids of their tasks. Pure functions.
#pragma once

#include <string>

#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Returns the settings that decide the transforms of the arm's heads, for example "k2-procrustes".
std::string AlignmentName(const v1::Arm& arm);

/// Returns the settings that decide the merged model that `refine` starts from, for example "k2-principal-layerwise".
std::string MergedName(const v1::Arm& arm);

/// Returns all settings of the arm, for example "k2-procrustes-l0" or "k2-principal-layerwise-none".
std::string ArmName(const v1::Arm& arm);

}  // namespace regroup
