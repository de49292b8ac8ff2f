#include "services/worker/launch_plan.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <string_view>

#include "services/worker/attempt_key.h"

namespace regroup {
namespace {

/// Names handed on to trainers. Everything else, secrets among it, stays behind.
constexpr std::array<std::string_view, 11> kInherited = {"PATH",
                                                         "HOME",
                                                         "USER",
                                                         "LANG",
                                                         "LC_ALL",
                                                         "TZ",
                                                         "LD_LIBRARY_PATH",
                                                         "CUDA_HOME",
                                                         "CUDA_CACHE_PATH",
                                                         "NVIDIA_VISIBLE_DEVICES",
                                                         "NVIDIA_DRIVER_CAPABILITIES"};
/// Settings of the libraries below a trainer.
constexpr std::array<std::string_view, 6> kInheritedPrefixes = {"NCCL_", "UCX_", "FI_", "MKL_", "PYTORCH_", "TORCH_"};
constexpr std::string_view kMpiPrefix = "OMPI_MCA_";

bool IsInherited(std::string_view name, bool gang) {
  if (std::find(kInherited.begin(), kInherited.end(), name) != kInherited.end()) return true;
  if (gang && name.starts_with(kMpiPrefix)) return true;
  return std::any_of(kInheritedPrefixes.begin(), kInheritedPrefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

/// The variables that make an attempt an attempt.
Environment OwnVariables(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                         const LaunchContext& context) {
  const std::string marker = WorkerMarker(options);
  return {{"REGROUP_WORKER", marker.substr(marker.find('=') + 1)},
          {"REGROUP_ATTEMPT", fmt::format("{}@{}", ToString(KeyOf(assignment.attempt())), WorkerKey(options))},
          {"REGROUP_WORKER_SOCKET", context.socket.string()},
          {"REGROUP_ATTEMPT_TOKEN", context.token},
          {"OMP_NUM_THREADS", std::to_string(std::max(1, context.cores / std::max(1, options.slots)))},
          {"CUDA_VISIBLE_DEVICES", context.visible_devices},
          {"TMPDIR", context.temporary_folder.string()}};
}

std::vector<std::string> TrainerArguments(const WorkerOptions& options, const LaunchContext& context) {
  return {options.trainer.string(), "--attempt", context.attempt_folder.string(), "--work-dir",
          options.work_folder.string()};
}

/// `exported` are handed on by name only: their values never stand in a command line, which everybody can read.
std::vector<std::string> MpirunArguments(const std::filesystem::path& mpirun, int ranks, const Environment& exported,
                                         const std::filesystem::path& log_folder) {
  std::vector<std::string> arguments = {mpirun.string(), "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
                                        "-np", std::to_string(ranks),
                                        // A file a rank: complete lines, whatever the ranks print at once.
                                        "--output-filename", log_folder.string() + ":nojobid,nocopy",
                                        // One host: no remote shell is needed, and none may be looked for.
                                        "-mca", "plm", "isolated",
                                        // No InfiniBand verbs, whose absence it would warn about.
                                        "-mca", "btl", "^openib"};
  for (const auto& [name, value] : exported) {
    arguments.push_back("-x");
    arguments.push_back(name);
  }
  return arguments;
}

/// Defaults that the worker's own environment may overrule.
void AddMpiSettings(Environment& environment) {
  // Ranks wait by spinning, which on shared cores starves the rank they wait for.
  environment.emplace("OMPI_MCA_mpi_yield_when_idle", "1");
  // Containers forbid the system call by which one rank reads another's memory.
  environment.emplace("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
}

std::vector<std::string> Entries(const Environment& environment) {
  std::vector<std::string> entries;
  for (const auto& [name, value] : environment) entries.push_back(fmt::format("{}={}", name, value));
  return entries;
}

}  // namespace

std::filesystem::path RankLogFolder(const std::filesystem::path& attempt_folder) { return attempt_folder / "logs"; }

ProcessPlan MakeProcessPlan(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                            const LaunchContext& context) {
  const bool gang = assignment.ranks() > 1;
  const Environment own = OwnVariables(options, assignment, context);
  Environment environment = own;
  for (const auto& [name, value] : context.inherited) {
    if (IsInherited(name, gang)) environment.emplace(name, value);
  }
  environment.emplace("PATH", "/usr/local/bin:/usr/bin:/bin");
  environment.emplace("LANG", "C.UTF-8");
  if (gang) AddMpiSettings(environment);

  const std::filesystem::path log_folder = RankLogFolder(context.attempt_folder);
  const std::filesystem::path output_folder = gang ? log_folder / "mpirun" : log_folder / "rank.0";
  std::vector<std::string> arguments;
  if (gang) {
    const std::filesystem::path found = FindProgram(options.mpirun, environment["PATH"]);
    arguments = MpirunArguments(found.empty() ? std::filesystem::path(options.mpirun) : found, assignment.ranks(), own,
                                log_folder);
  }
  for (std::string& argument : TrainerArguments(options, context)) arguments.push_back(std::move(argument));
  return {.arguments = std::move(arguments),
          .environment = Entries(environment),
          .working_folder = context.attempt_folder,
          .stdout_file = output_folder / "stdout",
          .stderr_file = output_folder / "stderr",
          .parent_death_signal = gang ? SIGTERM : SIGKILL,
          .marker = {"REGROUP_ATTEMPT=" + own.at("REGROUP_ATTEMPT"), WorkerMarker(options)}};
}

Environment CurrentEnvironment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) environment[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return environment;
}

std::filesystem::path FindProgram(const std::string& program, const std::string& path) {
  if (program.find('/') != std::string::npos) return program;
  std::istringstream folders(path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::filesystem::path candidate = std::filesystem::path(folder) / program;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

}  // namespace regroup
