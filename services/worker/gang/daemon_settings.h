// The only command that another worker can make this one run: Open MPI's daemon, with settings that each must match a
// pattern of a fixed list. Pure.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/gang_service.pb.h"

namespace regroup {

/// Whether mpirun's setting is passed on to the daemon at all. What is not is either a default or reaches the ranks
/// from mpirun.
bool IsDaemonSetting(const std::string& name);

/// The daemon's arguments behind the program's name. `log_folder` is where the attempt's ranks may write; the daemon
/// starts nothing on further nodes, so `launcher`, the name of regroup-rsh, is never called. INVALID_ARGUMENT names a
/// setting that is unknown, is given twice, is missing or has a value of another form.
absl::StatusOr<std::vector<std::string>> DaemonArguments(
    const google::protobuf::RepeatedPtrField<v1::DaemonSetting>& settings, const std::filesystem::path& log_folder,
    const std::filesystem::path& launcher);

/// Value of mpirun's --output-filename: a file a rank.
std::string OutputFilename(const std::filesystem::path& log_folder);

}  // namespace regroup
