// The commands `regroup-coordinator init` and `regroup-coordinator token ...`, which manage access to a coordinator.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

namespace regroup {

/// Adds the commands. The chosen one stores its action in `selected`.
void AddAccessCommands(CLI::App* app, std::function<absl::Status()>* selected);

}  // namespace regroup
