// The settings of a worker and the command line that sets them. Plain values that do not change after main has read
// them.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "services/common/base/logging.h"
#include "services/common/job_file/allowed_paths.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/credentials.h"

namespace regroup {

/// Settings for gangs that are spread over several workers.
struct GangOptions {
  /// host:port to listen on for other workers; if empty, this worker neither leads nor helps such gangs.
  std::string listen;
  /// host:port at which other workers reach this one; if empty, the host's name or the address listened on, with its
  /// port.
  std::string address;
  /// Network interfaces or subnets for the ranks' traffic, in the form of Open MPI's btl_tcp_if_include; empty for all.
  std::string interface;
  TlsFiles tls;
  /// The program that mpirun starts instead of a remote shell.
  std::filesystem::path remote_shell;
  /// A gang fails if one of its workers has not joined by then.
  std::chrono::milliseconds join_patience{30'000};
};

struct WorkerOptions {
  /// Stable over restarts: lower-case letters, digits, hyphens and dots.
  std::string id;
  /// Shared with the coordinator and the other workers; absolute.
  std::filesystem::path work_folder;
  /// Maximum number of trainer processes that run at once.
  int slots = 1;
  /// Number of workers, this one included, among which the machine's cores are divided.
  int workers_on_machine = 1;
  /// cpu | cuda
  std::string device = "cpu";
  /// The trainer program, absolute.
  std::filesystem::path trainer;
  /// An absolute path, or a name that is looked up in PATH.
  std::string mpirun = "mpirun";
  /// The module that keeps the ports of a gang on one worker on loopback, absolute.
  std::filesystem::path loopback_module;
  AllowedPaths allowed_paths;
  /// True if addresses of jobs may lead to private networks.
  bool allows_private_addresses = false;
  /// Most GiB of files from addresses that are kept for later jobs.
  int fetch_cache_gib = 200;
  GangOptions gang;

  /// The time from SIGTERM to SIGKILL.
  std::chrono::milliseconds stop_grace{5'000};
  /// Every rank of an attempt must have attested by then.
  std::chrono::milliseconds attest_patience{120'000};
  /// A rank that reported its outcome must have exited by then.
  std::chrono::milliseconds exit_patience{60'000};
  /// True if this machine is checked before the worker takes tasks.
  bool checks_machine = false;
  /// The check must have ended by then.
  std::chrono::milliseconds check_patience{120'000};
  /// Longest AcquireTask call.
  std::chrono::milliseconds acquire_wait{20'000};
};

/// Returns the path of the module beside this program: in lib/ of a build, in lib/regroup/ once installed.
std::filesystem::path FindLoopbackModule();

/// Returns 12 hexadecimal digits that identify this worker and its working folder on this machine, for the names of
/// sockets, locks and groups.
std::string WorkerKey(const WorkerOptions& options);

/// Returns the prefix of the names of this worker's control groups.
std::string ControlGroupPrefix(const WorkerOptions& options);

/// Returns the entry ("NAME=value") that is in the environment of every process of this worker.
std::string WorkerMarker(const WorkerOptions& options);

/// The whole command line of regroup-worker.
struct WorkerFlags {
  WorkerOptions worker;
  /// host:port
  std::string coordinator;
  ClientIdentity identity;
  LogFormat log_format = LogFormat::kJson;
  std::string log_level = "info";
  bool die_with_parent = false;
  /// auto | always | never; auto: with GPUs.
  std::string self_check = "auto";
};

/// Returns INVALID_ARGUMENT if processes would have to share a GPU, where each would find less memory than `regroup
/// plan` assumes.
absl::Status CheckSlots(const WorkerOptions& options);

/// Reads the command line and fills in defaults. If that fails, prints the reason (or the help), stores the exit status
/// in `exit_status` and returns nothing.
std::optional<WorkerFlags> ParseWorkerFlags(int argc, char** argv, int* exit_status);

}  // namespace regroup
