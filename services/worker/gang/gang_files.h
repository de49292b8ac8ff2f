// The names and files by which the lead's worker, mpirun and regroup-rsh understand each other. Pure.
//
// The lead writes the host file for mpirun and the gang file for regroup-rsh into the attempt's temporary folder, and
// recognises in mpirun's output what regroup-rsh says of a lost worker.
#pragma once

#include <optional>
#include <string>

#include "regroup/v1/worker_service.pb.h"

namespace regroup {

inline constexpr char kHostFile[] = "hosts";
/// A v1::GangCall as JSON.
inline constexpr char kGangFile[] = "gang.json";
/// Names the gang file in regroup-rsh's environment.
inline constexpr char kGangFileVariable[] = "REGROUP_GANG_FILE";

/// Begins each line in which regroup-rsh says why a worker was lost or never came.
inline constexpr char kErrorMark[] = "regroup-rsh: ";

/// Returns the name under which mpirun knows a member of a gang. It is never resolved: regroup-rsh finds the worker by
/// it.
std::string NodeName(int member);
/// Returns the member that has this name, if any.
std::optional<int> MemberOfNode(const std::string& node);

/// Returns the content of the host file: each member with the number of its ranks.
std::string HostFileText(const v1::Gang& gang);

}  // namespace regroup
