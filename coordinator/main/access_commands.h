// `regroup-coordinator init` and `regroup-coordinator token ...`: who may reach a coordinator.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

namespace regroup {

/// Adds the commands. The one that is chosen leaves its action in `selected`.
void AddAccessCommands(CLI::App* app, std::function<absl::Status()>* selected);

}  // namespace regroup
