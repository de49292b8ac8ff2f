// Which fields of a job are paths on the shared file system. Pure.
#pragma once

#include <functional>
#include <string>

#include "regroup/v1/job.pb.h"

namespace regroup {

/// Calls `visit` with the job file's path of the field ("calibration.data") and its value, for each that is written.
void ForEachPath(v1::JobSpec& spec, const std::function<void(const std::string& field, std::string& path)>& visit);

}  // namespace regroup
