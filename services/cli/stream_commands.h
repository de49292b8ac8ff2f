// watch, logs, metrics: read a stream until the job is final.
#pragma once

#include "services/cli/command.h"

namespace regroup {

void AddStreamCommands(CLI::App& app, CommandLine& line);

}  // namespace regroup
