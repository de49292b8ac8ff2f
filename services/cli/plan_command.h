// `regroup plan`.
#pragma once

#include <string>

#include "regroup/v1/plan.pb.h"
#include "services/cli/command.h"

namespace regroup {

void AddPlanCommand(CLI::App& app, CommandLine& line);

/// Returns a plan as text for a terminal of `columns` columns, without the lines of fields that are unset: a
/// coordinator tells nothing about its own machine. Pure.
std::string PlanText(const v1::JobPlan& plan, size_t columns);

}  // namespace regroup
