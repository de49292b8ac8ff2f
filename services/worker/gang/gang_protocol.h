// The protocol between the lead, mpirun, regroup-rsh and a helper: names, files, and the only command that one worker
// can make another run, which is Open MPI's daemon with settings that each match a pattern of a fixed list. Pure.
//
// The lead writes the host file for mpirun and the gang file for regroup-rsh into the attempt's temporary folder, and
// recognises in mpirun's output the lines in which regroup-rsh reports a lost worker.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "regroup/v1/gang_service.pb.h"

namespace regroup {

inline constexpr char kHostFile[] = "hosts";
/// A v1::GangCall as JSON.
inline constexpr char kGangFile[] = "gang.json";
/// The variable in regroup-rsh's environment that holds the gang file's path.
inline constexpr char kGangFileVariable[] = "REGROUP_GANG_FILE";

/// Begins each line in which regroup-rsh says why a worker was lost or never came.
inline constexpr char kErrorMark[] = "regroup-rsh: ";

/// Returns the name under which mpirun knows a member of a gang. It is never resolved: regroup-rsh finds the worker by
/// it.
std::string NodeName(int member);
/// Returns the member with this name, if any.
std::optional<int> MemberOfNode(const std::string& node);

/// Returns the content of the host file: each member with the number of its ranks.
std::string HostFileText(const v1::Gang& gang);

/// Returns true if mpirun's setting is passed on to the daemon. Any other is either a default or reaches the ranks from
/// mpirun.
bool IsDaemonSetting(const std::string& name);

/// Returns the daemon's arguments, without the program's name. The attempt's ranks may write to `log_folder`. The
/// daemon starts nothing on other nodes, so `launcher`, the name of regroup-rsh, is never called. INVALID_ARGUMENT
/// names a setting that is unknown, given twice or missing, or whose value does not match its pattern.
absl::StatusOr<std::vector<std::string>> DaemonArguments(
    const google::protobuf::RepeatedPtrField<v1::DaemonSetting>& settings, const std::filesystem::path& log_folder,
    const std::filesystem::path& launcher);

/// Returns the value of mpirun's --output-filename, which gives each rank a file of its own.
std::string OutputFilename(const std::filesystem::path& log_folder);

}  // namespace regroup
