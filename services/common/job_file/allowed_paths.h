// Checks a job's paths against the folders that it may read and write, and its addresses against the prefixes: the
// places that the cluster's operators allow.
// The coordinator checks when a job is submitted, and the worker again before every attempt, because only it sees what
// the paths resolve to by then.
//
// May be called from any thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "services/common/base/error.h"

namespace regroup {

/// Calls `visit` with the job file's path of the field ("calibration.data") and its value, for each field that is set
/// and holds a path or an address. Pure.
void ForEachPath(v1::JobSpec& spec, const std::function<void(const std::string& field, std::string& path)>& visit);

struct AllowedPaths {
  /// Folders that a job may read; empty means all.
  std::vector<std::filesystem::path> data_roots;
  /// Folders in which its result may appear; empty means all.
  std::vector<std::filesystem::path> output_roots;
  /// Prefixes of the addresses that a job may name (see IsBelowOneOf); empty allows none.
  std::vector<std::string> address_prefixes;
};

/// Returns a sentence for each root that cannot be meant: one that does not exist, and one that holds the working
/// folder, in which results and secrets of all jobs lie. An empty working folder is in no root. Reads the file system.
std::vector<std::string> DoubtsAbout(const AllowedPaths& allowed, const std::filesystem::path& work_folder);

/// Returns the paths of the job that are, or resolve by a symbolic link to, outside of the roots, and the addresses
/// below none of the prefixes; empty if all are allowed. Reads the file system.
std::vector<FieldViolation> CheckAllowedPaths(const v1::JobSpec& spec, const AllowedPaths& allowed);

}  // namespace regroup
