#include "services/worker/worker_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <string_view>

#include <CLI/CLI.hpp>

#include "services/common/base/paths.h"
#include "services/common/base/sha256.h"
#include "services/common/job_file/address.h"
#include "services/common/programs/man_page.h"
#include "services/common/rpc/security_flags.h"
#include "services/worker/machine.h"

namespace regroup {
namespace {

constexpr int kUsageError = 2;

/// Returns the host's name, with every character but letters, digits, hyphens and dots replaced by a hyphen.
std::string DefaultId() {
  std::string id = HostName();
  std::transform(id.begin(), id.end(), id.begin(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '.' ? static_cast<char>(std::tolower(c)) : '-';
  });
  return id;
}

std::string CheckId(const std::string& id) {
  const bool good = !id.empty() && id.size() <= 63 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::islower(c) || std::isdigit(c) || c == '-' || c == '.';
  });
  return good ? "" : "must be 1 to 63 lower-case letters, digits, hyphens and dots";
}

std::filesystem::path BesideThis(const char* program) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / program;
}

/// Returns an error unless `interface` has the form that Open MPI reads; the other workers would reject anything else.
std::string CheckInterface(const std::string& interface) {
  const bool good = std::all_of(interface.begin(), interface.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view(".:/,_@-").find(static_cast<char>(c)) != std::string_view::npos;
  });
  return good ? "" : "must be names of network interfaces or subnets, separated by commas";
}

void AddGangOptions(CLI::App& app, GangOptions& gang) {
  app.add_option("--gang-listen", gang.listen,
                 "Address to listen on for other workers, host:port; default: no gangs on several workers");
  app.add_option("--gang-address", gang.address,
                 "host:port at which other workers reach this one; default: from --gang-listen, or the host's name");
  app.add_option("--gang-interface", gang.interface,
                 "Network interfaces or subnets for the ranks' traffic, such as eth1 or 10.1.0.0/16; default: all")
      ->check(CLI::Validator(CheckInterface, "NET"));
  app.add_option_function<int>(
         "--gang-join-s", [&gang](int seconds) { gang.join_patience = std::chrono::seconds(seconds); },
         "Seconds to wait for the other workers of a gang to join; default: 30")
      ->check(CLI::Range(1, 3600));
}

void AddOptions(CLI::App& app, WorkerFlags& flags) {
  WorkerOptions& worker = flags.worker;
  const std::map<std::string, LogFormat> formats = {{"json", LogFormat::kJson}, {"text", LogFormat::kText}};
  app.add_option("--coordinator", flags.coordinator,
                 "Address of the coordinator, host:port; several are separated by commas")
      ->required();
  app.add_option("--work-dir", worker.work_folder, "Folder shared by the coordinator's workers")->required();
  app.add_option("--id", worker.id,
                 "Name of this worker, which must stay the same across restarts; default: the host's name")
      ->check(CLI::Validator(CheckId, "ID"));
  app.set_version_flag("--version", REGROUP_VERSION);
  app.add_option("--slots", worker.slots, "Maximum number of trainer processes that run at once")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--workers-on-machine", worker.workers_on_machine,
                 "Number of workers on this machine, which share its cores equally")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--device", worker.device, "cpu | cuda; default: cuda where there is an NVIDIA GPU")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--trainer", worker.trainer, "Program regroup-trainer; default: beside this program");
  app.add_option("--data-root", worker.allowed_paths.data_roots,
                 "Folder that jobs may read from; may be repeated; default: all");
  app.add_option("--output-root", worker.allowed_paths.output_roots,
                 "Folder that jobs may write results to; may be repeated; default: all");
  app.add_option("--allow-remote", worker.allowed_paths.address_prefixes,
                 "What the addresses of jobs may begin with: hf://, hf://org/, s3://bucket/, https://host/; may be "
                 "repeated; default: none")
      ->check(CLI::Validator(DoubtAboutPrefix, "PREFIX"));
  app.add_flag("--allow-private-addresses", worker.allows_private_addresses,
               "Let addresses of jobs lead to private networks and to this machine");
  app.add_option("--fetch-cache-gib", worker.fetch_cache_gib,
                 "GiB of files from addresses that are kept for later jobs, by all workers together")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("--self-check", flags.self_check,
                 "auto | always | never: whether a process on every slot has to compute, and all of them to "
                 "communicate, before this worker takes tasks; auto: with GPUs")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  app.add_option("--mpirun", worker.mpirun, "Program mpirun of Open MPI")->capture_default_str();
  AddGangOptions(app, worker.gang);
  AddTlsFlags(&app, &flags.identity.tls);
  AddTokenFlag(&app, &flags.identity.token_file);
  app.add_option("--log-format", flags.log_format, "json | text")
      ->transform(CLI::CheckedTransformer(formats, CLI::ignore_case));
  app.add_option("--log-level", flags.log_level, "debug | info | warning | error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.add_flag("--die-with-parent", flags.die_with_parent, "Stop when the program that started this one ends");
}

/// Makes the paths absolute, because regroup-rsh runs in another folder.
TlsFiles AbsoluteFiles(TlsFiles files) {
  for (std::string* file : {&files.certificate, &files.private_key, &files.certificate_authority}) {
    if (!file->empty()) *file = Absolute(*file);
  }
  return files;
}

void Complete(WorkerOptions& worker) {
  if (worker.trainer.empty()) worker.trainer = BesideThis("regroup-trainer");
  worker.gang.remote_shell = BesideThis("regroup-rsh");
  worker.loopback_module = FindLoopbackModule();
  worker.trainer = Absolute(worker.trainer);
  worker.work_folder = Absolute(worker.work_folder).lexically_normal();
  for (std::filesystem::path& root : worker.allowed_paths.data_roots) root = Absolute(root);
}

}  // namespace

std::filesystem::path FindLoopbackModule() {
  const std::filesystem::path built = BesideThis("../lib/libregroup_loopback.so").lexically_normal();
  const std::filesystem::path installed = BesideThis("../lib/regroup/libregroup_loopback.so").lexically_normal();
  return Exists(built) ? built : installed;
}

std::string WorkerKey(const WorkerOptions& options) {
  return Sha256Of(fmt::format("{}\n{}", options.id, options.work_folder.lexically_normal().string())).substr(0, 12);
}

std::string ControlGroupPrefix(const WorkerOptions& options) { return fmt::format("regroup-{}-", WorkerKey(options)); }

std::string WorkerMarker(const WorkerOptions& options) {
  return fmt::format("REGROUP_WORKER={}@{}", options.id, WorkerKey(options));
}

absl::Status CheckSlots(const WorkerOptions& options) {
  const size_t gpus = UsableGpus(options.device).size();
  if (gpus == 0 || static_cast<size_t>(options.slots) <= gpus) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("--slots {}: this worker may use {} GPU{}, and each process needs its own; write --slots {}, or "
                  "--device cpu",
                  options.slots, gpus, gpus == 1 ? "" : "s", gpus));
}

std::optional<WorkerFlags> ParseWorkerFlags(int argc, char** argv, int* exit_status) {
  WorkerFlags flags;
  flags.worker.id = DefaultId();
  flags.worker.device = DetectDevice();
  CLI::App app("Runs tasks of a Regroup coordinator on this machine.", "regroup-worker");
  AddOptions(app, flags);
  AddManPageFlag(&app,
                 {.section = 8, .version = REGROUP_VERSION, .see_also = {"regroup(1)", "regroup-coordinator(8)"}});
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    *exit_status = app.exit(error) == 0 ? 0 : kUsageError;
    return std::nullopt;
  }
  Complete(flags.worker);
  flags.worker.checks_machine =
      flags.self_check == "always" || (flags.self_check == "auto" && flags.worker.device == "cuda");
  flags.worker.gang.tls = AbsoluteFiles(flags.identity.tls);
  return flags;
}

}  // namespace regroup
