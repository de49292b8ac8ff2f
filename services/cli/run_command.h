// run: a whole conversion on this machine, from one command.
#pragma once

#include "services/cli/command.h"

namespace regroup {

void AddRunCommand(CLI::App& app, CommandLine& line);

}  // namespace regroup
