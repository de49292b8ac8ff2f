// Does the work of regroup-rsh: mpirun starts it where it would start ssh, and it has another worker of the gang start
// Open MPI's daemon. It is not a shell: of the command it takes the daemon's settings, and the other worker checks
// each.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/gang_service.pb.h"

namespace regroup {

/// Splits a command as a shell would that knows quotation marks and nothing else.
std::vector<std::string> SplitCommand(const std::string& command);

/// The settings in "orted -mca NAME VALUE ...", without those that a daemon does not need. INVALID_ARGUMENT for a
/// command of another form.
absl::StatusOr<std::vector<v1::DaemonSetting>> SettingsOf(const std::vector<std::string>& words);

/// Runs the daemon on the worker that stands for `node`, until it ends. Prints what it prints, and an error as a line
/// that begins with kErrorMark and names the worker. Returns the status to exit with.
int RunRemoteDaemon(const v1::GangCall& call, const std::string& node, const std::vector<v1::DaemonSetting>& settings);

}  // namespace regroup
