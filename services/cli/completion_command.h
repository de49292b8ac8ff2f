// `regroup completion bash|zsh`.
#pragma once

#include <string>

#include "services/cli/command.h"

namespace regroup {

/// Call last: what it prints names the commands that are there when it is run.
void AddCompletionCommand(CLI::App& app, CommandLine& line);

/// A script that completes commands, options and file names in bash; with zsh's compatibility in front for `zsh`. Pure.
std::string CompletionScript(const CLI::App& app, const std::string& shell);

}  // namespace regroup
