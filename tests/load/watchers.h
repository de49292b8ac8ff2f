// Many watchers of running jobs; some open their stream and never read from it.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tests/load/connection.h"

namespace regroup {

struct WatchLoad {
  int watchers = 200;
  int silent = 10;
  int jobs = 20;
  /// Duration of the jobs, whose progress changes ten times a second.
  double seconds = 10;
};

/// Returns {"readers", "complete", "events", "progress", "silent", "first_fault"}: "complete" is the number of readers
/// that saw every revision once, in order, to the end.
absl::StatusOr<nlohmann::json> LoadWatchers(const LoadOptions& users, const LoadOptions& workers,
                                            const WatchLoad& load);

}  // namespace regroup
