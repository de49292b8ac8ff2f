// The work of regroup-rsh: mpirun starts it instead of ssh, and it asks another worker of the gang to start Open MPI's
// daemon. It is not a shell: it takes only the daemon's settings from the command, and the other worker checks each.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/gang_service.pb.h"

namespace regroup {

/// Splits a command as a shell does, but handles only quotation marks.
std::vector<std::string> SplitCommand(const std::string& command);

/// Returns the settings in "orted -mca NAME VALUE ...", without those that a daemon does not need. INVALID_ARGUMENT for
/// a command of another form.
absl::StatusOr<std::vector<v1::DaemonSetting>> SettingsOf(const std::vector<std::string>& words);

/// Runs the daemon on the worker that `node` stands for, until it ends. Prints the daemon's output, and an error as a
/// line that begins with kErrorMark and names the worker. Returns the status to exit with.
int RunRemoteDaemon(const v1::GangCall& call, const std::string& node, const std::vector<v1::DaemonSetting>& settings);

}  // namespace regroup
