#include "services/worker/attempt/launch_plan.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>
#include <string_view>

#include <nlohmann/json.hpp>

#include "services/common/base/attempt_files.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/trace_parent.h"
#include "services/common/remote/remote_settings.h"
#include "services/worker/attempt_key.h"
#include "services/worker/gang/gang_protocol.h"

namespace regroup {
namespace {

/// The variables that are passed on to trainers. No other is, so that no secret leaks.
constexpr std::array<std::string_view, 12> kInherited = {"PATH",
                                                         "HOME",
                                                         "USER",
                                                         "LANG",
                                                         "LC_ALL",
                                                         "TZ",
                                                         "LD_LIBRARY_PATH",
                                                         "CUDA_HOME",
                                                         "CUDA_CACHE_PATH",
                                                         "NVIDIA_VISIBLE_DEVICES",
                                                         "NVIDIA_DRIVER_CAPABILITIES",
                                                         "REGROUP_PEAK_FLOPS"};
/// Settings of the libraries that a trainer uses.
constexpr std::array<std::string_view, 6> kInheritedPrefixes = {"NCCL_", "UCX_", "FI_", "MKL_", "PYTORCH_", "TORCH_"};
constexpr std::string_view kMpiPrefix = "OMPI_MCA_";
constexpr char kLoopback[] = "lo";

bool IsInherited(std::string_view name, bool gang) {
  if (std::find(kInherited.begin(), kInherited.end(), name) != kInherited.end()) return true;
  if (gang && name.starts_with(kMpiPrefix)) return true;
  return std::any_of(kInheritedPrefixes.begin(), kInheritedPrefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

/// Returns the number of threads of one rank: its share of the cores if every slot of every worker here is busy.
int ThreadsOf(const WorkerOptions& options, int cores) {
  return std::max(1, cores / std::max(1, options.workers_on_machine) / std::max(1, options.slots));
}

/// Returns the variables that identify the attempt and tell the trainer how to reach its worker.
Environment OwnVariables(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                         const LaunchContext& context) {
  const std::string marker = WorkerMarker(options);
  nlohmann::json roots = nlohmann::json::array();
  for (const std::filesystem::path& root : options.allowed_paths.data_roots) roots.push_back(root.string());
  Environment variables = {
      {"REGROUP_WORKER", marker.substr(marker.find('=') + 1)},
      {"REGROUP_ATTEMPT", fmt::format("{}@{}", ToString(KeyOf(assignment.attempt())), WorkerKey(options))},
      {"REGROUP_WORKER_SOCKET", context.socket.string()},
      {"REGROUP_ATTEMPT_TOKEN", context.token},
      {kDataRootsVariable, roots.dump()},
      {"OMP_NUM_THREADS", std::to_string(ThreadsOf(options, context.cores))},
      {"CUDA_VISIBLE_DEVICES", context.visible_devices},
      {"TMPDIR", context.temporary_folder.string()}};
  if (IsTraceparent(assignment.traceparent())) variables[kTraceparentVariable] = assignment.traceparent();
  return variables;
}

std::vector<std::string> TrainerArguments(const WorkerOptions& options, const LaunchContext& context) {
  return {options.trainer.string(), "--attempt", context.attempt_folder.string(), "--work-dir",
          options.work_folder.string()};
}

/// Returns the arguments that every gang is started with.
std::vector<std::string> CommonMpirunArguments(const std::filesystem::path& mpirun, int ranks,
                                               const std::filesystem::path& log_folder) {
  return {mpirun.string(), "--allow-run-as-root", "--bind-to", "none", "-np", std::to_string(ranks),
          // One file per rank keeps lines whole, even when ranks print at the same time.
          "--output-filename", OutputFilename(log_folder)};
}

/// Passes on `exported` by name only: everybody can read a command line, so no value may appear in it.
std::vector<std::string> LocalMpirunArguments(const Environment& exported) {
  // With one host mpirun needs no remote shell and must not look for one. Ranks talk over shared memory, and mpirun
  // over loopback, so that no other machine reaches them; the worker's own settings cannot change that.
  std::vector<std::string> arguments = {
      "--oversubscribe",    "-mca",   "plm", "isolated", "-mca", "pml", "ob1", "-mca", "btl", "self,vader", "-mca",
      "oob_tcp_if_include", kLoopback};
  for (const auto& [name, value] : exported) {
    arguments.push_back("-x");
    arguments.push_back(name);
  }
  return arguments;
}

/// Exports nothing: ranks take their variables from the worker that runs them.
std::vector<std::string> SpreadMpirunArguments(const WorkerOptions& options, const LaunchContext& context) {
  std::vector<std::string> arguments = {
      // Disables InfiniBand verbs: Open MPI would warn that there are none.
      "-mca", "btl", "^openib", "--hostfile", (context.temporary_folder / kHostFile).string(),
      // Ranks are numbered in the order of the workers, each of which runs exactly its share.
      "--map-by", "slot",
      // The host names are invented, and Open MPI may be installed in different folders on different nodes.
      "--do-not-resolve", "--noprefix", "-mca", "plm", "rsh", "-mca", "plm_rsh_agent",
      options.gang.remote_shell.string(),
      // Starts every daemon from this worker, which knows the other ones.
      "-mca", "plm_rsh_no_tree_spawn", "1",
      // Makes the call that starts a daemon last as long as the daemon, so that the end of either ends the other.
      "-mca", "orte_leave_session_attached", "1"};
  if (options.gang.interface.empty()) return arguments;
  for (const char* setting : {"btl_tcp_if_include", "oob_tcp_if_include"}) {
    arguments.insert(arguments.end(), {"-mca", setting, options.gang.interface});
  }
  return arguments;
}

bool IsSpread(const v1::TaskAssignment& assignment) { return assignment.gang().members_size() > 1; }

/// Sets defaults that the worker's own environment may override.
void AddMpiSettings(Environment& environment) {
  // Ranks wait by spinning, which on shared cores starves the rank that they wait for.
  environment.emplace("OMPI_MCA_mpi_yield_when_idle", "1");
  // Containers forbid the system call with which one rank reads another's memory.
  environment.emplace("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
}

/// Sets NCCL's interface, if `interface` is a name: NCCL does not accept subnets.
void AddNcclSettings(const std::string& interface, Environment& environment) {
  const bool is_name = !interface.empty() && interface.find('/') == std::string::npos;
  if (is_name) environment.emplace("NCCL_SOCKET_IFNAME", interface);
}

bool UsesAddresses(const v1::TaskAssignment& assignment) {
  return assignment.kind() == v1::TASK_KIND_FETCH || assignment.kind() == v1::TASK_KIND_UPLOAD;
}

/// Passes on the credentials for addresses, which no other task gets.
void AddRemoteSettings(const WorkerOptions& options, const Environment& inherited, Environment& environment) {
  for (const std::string& name : RemoteVariables()) {
    if (const auto found = inherited.find(name); found != inherited.end()) environment.insert(*found);
  }
  environment[kRemoteRulesVariable] =
      FormatRemoteRules({.allowed = options.allowed_paths.address_prefixes,
                         .allows_private_addresses = options.allows_private_addresses,
                         .cache_bytes = static_cast<uint64_t>(options.fetch_cache_gib) << 30});
}

/// Returns the whole environment of a process of the attempt.
Environment FullEnvironment(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                            const LaunchContext& context, const Environment& own) {
  const bool gang = assignment.ranks() > 1;
  Environment environment = own;
  for (const auto& [name, value] : context.inherited) {
    if (IsInherited(name, gang)) environment.emplace(name, value);
  }
  environment.emplace("PATH", "/usr/local/bin:/usr/bin:/bin");
  environment.emplace("LANG", "C.UTF-8");
  if (UsesAddresses(assignment)) AddRemoteSettings(options, context.inherited, environment);
  if (gang) AddMpiSettings(environment);
  if (IsSpread(assignment)) {
    AddNcclSettings(options.gang.interface, environment);
  } else if (gang) {
    environment["NCCL_SOCKET_IFNAME"] = kLoopback;
  }
  return environment;
}

std::filesystem::path FindMpirun(const WorkerOptions& options, const Environment& environment) {
  const std::filesystem::path found = FindProgram(options.mpirun, environment.at("PATH"));
  return found.empty() ? std::filesystem::path(options.mpirun) : found;
}

std::vector<std::string> Entries(const Environment& environment) {
  std::vector<std::string> entries;
  for (const auto& [name, value] : environment) entries.push_back(fmt::format("{}={}", name, value));
  return entries;
}

/// `trainer` is the command line of a rank.
ProcessPlan PlanOfRanks(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                        const LaunchContext& context, const std::vector<std::string>& trainer) {
  const bool gang = assignment.ranks() > 1;
  const Environment own = OwnVariables(options, assignment, context);
  Environment environment = FullEnvironment(options, assignment, context, own);
  if (IsSpread(assignment)) {
    environment[kGangFileVariable] = (context.temporary_folder / kGangFile).string();
  } else if (gang) {
    environment["LD_PRELOAD"] = options.loopback_module.string();
  }

  const std::filesystem::path log_folder = RankLogFolder(context.attempt_folder);
  const std::filesystem::path output_folder = gang ? log_folder / "mpirun" : log_folder / "rank.0";
  std::vector<std::string> arguments;
  if (gang) {
    arguments = CommonMpirunArguments(FindMpirun(options, environment), assignment.ranks(), log_folder);
    const std::vector<std::string> more =
        IsSpread(assignment) ? SpreadMpirunArguments(options, context) : LocalMpirunArguments(own);
    arguments.insert(arguments.end(), more.begin(), more.end());
  }
  arguments.insert(arguments.end(), trainer.begin(), trainer.end());
  return {.arguments = std::move(arguments),
          .environment = Entries(environment),
          .working_folder = context.attempt_folder,
          .stdout_file = output_folder / "stdout",
          .stderr_file = output_folder / "stderr",
          .parent_death_signal = gang ? SIGTERM : SIGKILL,
          .marker = {"REGROUP_ATTEMPT=" + own.at("REGROUP_ATTEMPT"), WorkerMarker(options)}};
}

}  // namespace

std::filesystem::path RankLogFolder(const std::filesystem::path& attempt_folder) {
  return attempt_folder / attempt_files::kLogs;
}

absl::Status CheckLoopbackModule(const std::filesystem::path& module) {
  if (access(module.c_str(), R_OK) != 0) return ErrnoStatus(errno, "read", module);
  if (module.string().find_first_of(": ") == std::string::npos) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{} cannot be loaded into mpirun: install Regroup below a path without colons and spaces", module.string()));
}

ProcessPlan MakeProcessPlan(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                            const LaunchContext& context) {
  return PlanOfRanks(options, assignment, context, TrainerArguments(options, context));
}

ProcessPlan MakeCheckPlan(const WorkerOptions& options, const LaunchContext& context) {
  v1::TaskAssignment assignment;
  assignment.mutable_attempt()->set_job("check");
  assignment.mutable_attempt()->set_task("machine");
  assignment.set_ranks(options.slots);
  return PlanOfRanks(options, assignment, context, {options.trainer.string(), "--check", "--device", options.device});
}

ProcessPlan MakeDaemonPlan(const WorkerOptions& options, const v1::TaskAssignment& assignment,
                           const LaunchContext& context, const std::vector<std::string>& arguments) {
  const Environment own = OwnVariables(options, assignment, context);
  Environment environment = FullEnvironment(options, assignment, context, own);
  environment["OMPI_MCA_btl_vader_backing_directory"] = context.shared_memory_folder.string();
  // Ranks find out by the node's name which others share their memory; mpirun knows the node by the invented one.
  environment["PMIX_HOSTNAME"] = NodeName(assignment.gang().member());
  // The daemon belongs to the same installation as mpirun.
  const std::filesystem::path daemon = FindMpirun(options, environment).parent_path() / "orted";
  std::vector<std::string> all = {daemon.string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return {.arguments = std::move(all),
          .environment = Entries(environment),
          .working_folder = context.temporary_folder,
          .stdout_file = context.temporary_folder / "daemon.stdout",
          .stderr_file = context.temporary_folder / "daemon.stderr",
          // On SIGTERM the daemon ends its ranks; a daemon that is killed leaves them behind.
          .parent_death_signal = SIGTERM,
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
