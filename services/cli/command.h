// Types and functions that all commands share.
//
// commands.h declares the functions that add commands to the parser. A parsed command stores its action in `selected`;
// main runs it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "services/cli/client.h"
#include "services/cli/exit_code.h"
#include "services/common/job_file/job_file.h"

namespace regroup {

/// Options of every command, and the chosen one.
struct CommandLine {
  bool json = false;
  std::string coordinator;
  ClientIdentity identity;
  std::function<ExitCode(const CommandLine&)> selected;

  absl::StatusOr<Client> Connect() const { return Client::Open(coordinator, identity); }

  /// Connects and makes one call: Call(&Client::JobStub::GetJob, request).
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) const {
    const absl::StatusOr<Client> client = Connect();
    if (!client.ok()) return client.status();
    return client->Call(method, request);
  }
};

/// Reads the job file named on the command line and runs the local checks. INVALID_ARGUMENT has one line
/// "file:line:column: ..." per mistake, and the violations as details.
absl::StatusOr<JobFile> ReadCheckedJobFile(const std::string& path);

/// Writes to standard output.
void Print(std::string_view text);

/// Writes "regroup: message" to standard error, or {"error": {...}} to standard output with --json; returns the
/// matching exit status.
ExitCode PrintError(const absl::Status& status, bool json);

}  // namespace regroup
