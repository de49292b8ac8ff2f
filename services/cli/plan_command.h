// `regroup plan`.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "regroup/v1/job_service.pb.h"
#include "services/cli/command.h"

namespace regroup {

void AddPlanCommand(CLI::App& app, CommandLine& line);

/// The trainer's plan as text for a terminal of `columns` columns. Pure.
std::string PlanText(const nlohmann::json& plan, size_t columns);

/// The coordinator's.
std::string RemotePlanText(const v1::PlanJobResponse& plan, size_t columns);

}  // namespace regroup
