// Submits jobs in an open loop, and reads lists back to compare the answers that a user got with what is stored.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/load/connection.h"
#include "tests/load/open_loop.h"

namespace regroup {

struct SubmissionLoad {
  double per_second = 500;
  double seconds = 10;
  /// Prefix of every request id.
  std::string prefix = "load";
};

struct Submitted {
  LatencyReport latencies;
  /// Names of the acknowledged jobs.
  std::vector<std::string> names;
};

absl::StatusOr<Submitted> LoadSubmissions(const LoadOptions& options, const SubmissionLoad& load);

/// Returns all jobs, newest first, without their tasks.
absl::StatusOr<std::vector<v1::Job>> ListAll(const Connection& connection, int page_size = 1000);

/// Reads `pages` pages of the list with these states, one after the other and from the newest again after the last.
absl::StatusOr<LatencyReport> LoadLists(const LoadOptions& options, int pages, int page_size,
                                        const std::vector<int>& states);

}  // namespace regroup
