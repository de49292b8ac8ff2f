// families, inspect: ask the trainer program beside this one; no coordinator is needed.
#pragma once

#include "services/cli/command.h"

namespace regroup {

void AddModelCommands(CLI::App& app, CommandLine& line);

}  // namespace regroup
