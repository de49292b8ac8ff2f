// Local paths of what a job names by address: what it reads lies below the results of the task `fetch`, and a result
// that goes to a bucket in the job's own folder. Pure functions, for any thread.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "regroup/v1/job.pb.h"

namespace regroup {

/// Returns the addresses that the job reads, each once, in the order of the job file. They are valid.
std::vector<std::string> AddressesToFetch(const v1::JobSpec& spec);

/// Returns the bucket's addresses to which the result is copied; empty for none.
std::vector<std::string> AddressesToUpload(const v1::JobSpec& spec);

/// Returns the folder in which the job's result appears: output.checkpoint, or if that is an address, a folder of the
/// job's own folder.
std::filesystem::path LocalOutput(const v1::JobSpec& spec, const std::filesystem::path& job_folder);

/// Returns the spec with a path in place of each address. `fetched` holds the results of `fetch`.
v1::JobSpec WithLocalPaths(v1::JobSpec spec, const std::filesystem::path& job_folder,
                           const std::filesystem::path& fetched);

/// Returns the addresses of `written` by the paths that `local`, which WithLocalPaths made of it, has in their places.
std::map<std::string, std::string> AddressesByPath(const v1::JobSpec& written, const v1::JobSpec& local);

}  // namespace regroup
