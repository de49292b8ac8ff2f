// workers, drain, undrain.
#pragma once

#include "services/cli/command.h"

namespace regroup {

void AddClusterCommands(CLI::App& app, CommandLine& line);

}  // namespace regroup
