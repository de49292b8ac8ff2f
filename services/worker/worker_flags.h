// The command line of regroup-worker.
#pragma once

#include <optional>
#include <string>

#include "services/common/base/logging.h"
#include "services/common/rpc/channel.h"
#include "services/worker/worker_options.h"

namespace regroup {

struct WorkerFlags {
  WorkerOptions worker;
  /// host:port
  std::string coordinator;
  ClientIdentity identity;
  LogFormat log_format = LogFormat::kJson;
  std::string log_level = "info";
  bool die_with_parent = false;
};

/// Reads and completes the flags. Otherwise prints why (or the help) and returns nothing, with the exit status in
/// `exit_status`.
std::optional<WorkerFlags> ParseWorkerFlags(int argc, char** argv, int* exit_status);

}  // namespace regroup
