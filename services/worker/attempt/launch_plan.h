// Decides how an attempt is started: arguments and environment. Pure, so that tests can check what a trainer inherits.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/worker/process/process_group.h"
#include "services/worker/worker_options.h"

namespace regroup {

using Environment = std::map<std::string, std::string>;

/// Holds what an attempt receives in addition to its assignment.
struct LaunchContext {
  /// Unix socket of the trainer server.
  std::filesystem::path socket;
  /// The token that the trainers send.
  std::string token;
  /// The attempt's folder, absolute.
  std::filesystem::path attempt_folder;
  /// Folder with a short path for temporary files and Open MPI's session folder.
  std::filesystem::path temporary_folder;
  /// Folder for the shared memory files of a helper's ranks.
  std::filesystem::path shared_memory_folder;
  /// Number of this machine's CPUs that the worker may use.
  int cores = 1;
  /// Value of CUDA_VISIBLE_DEVICES; an empty value hides all GPUs.
  std::string visible_devices;
  /// The worker's own environment; only a fixed list of its variables is passed on.
  Environment inherited;
};

/// Returns the folder for the output of each rank: <folder>/rank.<n>/{stdout,stderr}.
std::filesystem::path RankLogFolder(const std::filesystem::path& attempt_folder);

/// Checks that the module can be loaded into mpirun: without it the ports of a gang on one worker would be open to the
/// network, and the loader would only print a warning. It separates the names of modules by colons and spaces.
absl::Status CheckLoopbackModule(const std::filesystem::path& module);

/// Returns the plan that starts the trainer itself, without MPI, for one rank, or mpirun for several.
ProcessPlan MakeProcessPlan(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                            const LaunchContext& context);

/// Returns the plan that starts Open MPI's daemon for the ranks of a helper; `arguments` follow the program's name.
ProcessPlan MakeDaemonPlan(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                           const LaunchContext& context, const std::vector<std::string>& arguments);

/// Returns the plan that starts a trainer on every slot, as the ranks of a gang, to check this machine; the folders of
/// `context` are those of the check.
ProcessPlan MakeCheckPlan(const WorkerOptions& options, const LaunchContext& context);

/// Returns this process's environment as a map.
Environment CurrentEnvironment();

/// Returns the path of `program`, looked up in the folders of `path` ("a:b") unless it has a slash; empty if there is
/// none.
std::filesystem::path FindProgram(const std::string& program, const std::string& path);

}  // namespace regroup
