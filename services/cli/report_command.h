// report: the figures of a finished job.
#pragma once

#include "services/cli/command.h"

namespace regroup {

void AddReportCommand(CLI::App& app, CommandLine& line);

}  // namespace regroup
