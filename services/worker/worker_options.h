// The settings of a worker and the command line that gives them. Plain values, read once by main and then by everybody.
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

/// Says how a worker takes part in gangs that are spread over several workers.
struct GangOptions {
  /// host:port to listen on for other workers; empty: this worker runs such gangs neither as lead nor as helper.
  std::string listen;
  /// host:port that other workers are told; empty: the host's name, or the address listened on, with its port.
  std::string address;
  /// Network interfaces or subnets for the ranks' traffic, as Open MPI's btl_tcp_if_include; empty: all.
  std::string interface;
  TlsFiles tls;
  /// The program that mpirun starts in the place of a remote shell.
  std::filesystem::path remote_shell;
  /// A worker that has not joined a gang by then is given up.
  std::chrono::milliseconds join_patience{30'000};
};

struct WorkerOptions {
  /// Stable over restarts: lower-case letters, digits, hyphens and dots.
  std::string id;
  /// Shared with the coordinator and the other workers; absolute.
  std::filesystem::path work_folder;
  /// Processes that run at once.
  int slots = 1;
  /// cpu | cuda
  std::string device = "cpu";
  /// The trainer program, absolute.
  std::filesystem::path trainer;
  /// Absolute, or a name that is looked for in PATH.
  std::string mpirun = "mpirun";
  AllowedPaths allowed_paths;
  GangOptions gang;

  /// The time from SIGTERM to SIGKILL.
  std::chrono::milliseconds stop_grace{5'000};
  /// Every rank of an attempt must have attested by then.
  std::chrono::milliseconds attest_patience{120'000};
  /// A rank that reported its outcome must have exited by then.
  std::chrono::milliseconds exit_patience{60'000};
  /// Longest AcquireTask call.
  std::chrono::milliseconds acquire_wait{20'000};
};

/// Returns 12 hexadecimal digits that name this worker of this working folder on this machine: for sockets, locks and
/// groups.
std::string WorkerKey(const WorkerOptions& options);

/// Returns what the names of this worker's control groups start with.
std::string ControlGroupPrefix(const WorkerOptions& options);

/// Returns the entry ("NAME=value") that stands in the environment of every process of this worker.
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
};

/// Reads the command line and fills in what it leaves open. Otherwise prints why (or the help) and returns nothing,
/// with the exit status in `exit_status`.
std::optional<WorkerFlags> ParseWorkerFlags(int argc, char** argv, int* exit_status);

}  // namespace regroup
