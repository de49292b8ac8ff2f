// submit, plan, get, list, cancel, retry, delete: one request each.
#pragma once

#include "services/cli/command.h"

namespace regroup {

void AddJobCommands(CLI::App& app, CommandLine& line);

}  // namespace regroup
