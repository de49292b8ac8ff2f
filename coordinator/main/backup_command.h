// `regroup-coordinator backup`: asks a running coordinator for a copy of its store.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

namespace regroup {

/// Adds the command. If chosen, it stores its action in `selected`.
void AddBackupCommand(CLI::App* app, std::function<absl::Status()>* selected);

}  // namespace regroup
