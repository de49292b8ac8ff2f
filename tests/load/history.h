// Checks a coordinator's jobs against the answers that it had given.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/load/connection.h"
#include "tests/load/journal.h"

namespace regroup {

struct Verdict {
  /// Acknowledged jobs that no longer exist.
  int lost = 0;
  /// Acknowledged successes that no longer exist.
  int lost_results = 0;
  /// Tasks that succeeded more than once, and requests that created more than one job.
  int applied_twice = 0;
  /// One sentence per violated promise; empty if all were kept.
  std::vector<std::string> violations;
  /// Number of jobs that ended in each state.
  std::map<std::string, int> ends;
};

/// Waits until all jobs are final while workers still run, for at most `patience` between the ends of two jobs, then
/// checks every change of every job. A job whose attempts were lost too often may have FAILED.
absl::StatusOr<Verdict> Judge(const Connection& connection, const Journal& journal, std::chrono::seconds patience);

/// Returns {"acknowledged", "results", "cancelled", "lost", "lost_results", "applied_twice", "violations", "ends"}.
nlohmann::json ToJson(const Verdict& verdict, const Promises& promises);

}  // namespace regroup
