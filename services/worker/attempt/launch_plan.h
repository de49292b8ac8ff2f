// Decides how an attempt is started: arguments and environment. Pure, so that what a trainer inherits can be tested.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "regroup/v1/worker_service.pb.h"
#include "services/worker/process/process_group.h"
#include "services/worker/worker_options.h"

namespace regroup {

using Environment = std::map<std::string, std::string>;

/// Holds what an attempt is given besides its assignment.
struct LaunchContext {
  /// Unix socket of the trainer server.
  std::filesystem::path socket;
  /// The secret that the trainers show.
  std::string token;
  /// The attempt's folder, absolute.
  std::filesystem::path attempt_folder;
  /// Takes temporary files and Open MPI's session folder; its path is short.
  std::filesystem::path temporary_folder;
  /// Takes what the ranks of a helper share in memory.
  std::filesystem::path shared_memory_folder;
  /// CPUs of this machine that the worker may use.
  int cores = 1;
  /// Value of CUDA_VISIBLE_DEVICES; empty hides all.
  std::string visible_devices;
  /// The worker's own environment, of which only a fixed list is handed on.
  Environment inherited;
};

/// Returns the folder for the output of each rank: <folder>/rank.<n>/{stdout,stderr}.
std::filesystem::path RankLogFolder(const std::filesystem::path& attempt_folder);

/// One rank: the trainer itself, and nothing of MPI. Several: mpirun, which starts them.
ProcessPlan MakeProcessPlan(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                            const LaunchContext& context);

/// Open MPI's daemon, for the ranks that a helper runs; `arguments` are those behind its name.
ProcessPlan MakeDaemonPlan(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                           const LaunchContext& context, const std::vector<std::string>& arguments);

/// This process's environment as a map.
Environment CurrentEnvironment();

/// Finds `program` in the folders of `path` ("a:b"), unless it has a slash; empty when there is none.
std::filesystem::path FindProgram(const std::string& program, const std::string& path);

}  // namespace regroup
