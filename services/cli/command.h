// Types and functions that all commands share.
//
// commands.h declares the functions that add commands to the parser. A parsed command stores its action in `selected`;
// main runs it.
#pragma once

#include <algorithm>
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

/// Reads pages of a list, such as ReadPages(line, &Client::JobStub::ListJobs, request,
/// &v1::ListJobsResponse::mutable_jobs, limit), until there are `limit` items or no more. The result's next_page_token
/// is set if there are more.
template <typename Stub, typename Request, typename Response, typename Item>
absl::StatusOr<Response> ReadPages(const CommandLine& line,
                                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                   Request request, google::protobuf::RepeatedPtrField<Item>* (Response::*items)(),
                                   int limit) {
  constexpr int largest_page = 1000;
  Response all;
  google::protobuf::RepeatedPtrField<Item>& found = *(all.*items)();
  do {
    request.set_page_size(std::min(limit - found.size(), largest_page));
    absl::StatusOr<Response> page = line.Call(method, request);
    if (!page.ok()) return page.status();
    found.MergeFrom(*((*page).*items)());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && found.size() < limit);
  all.set_next_page_token(request.page_token());
  return all;
}

/// Reads the job file named on the command line and runs the local checks. INVALID_ARGUMENT has one line
/// "file:line:column: ..." per mistake, and the violations as details.
absl::StatusOr<JobFile> ReadCheckedJobFile(const std::string& path);

/// Writes to standard output.
void Print(std::string_view text);

/// Writes "regroup: message" to standard error, or {"error": {...}} to standard output with --json; returns the
/// matching exit status.
ExitCode PrintError(const absl::Status& status, bool json);

}  // namespace regroup
