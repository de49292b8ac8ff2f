// Many watchers of running jobs, of which some open their stream and never read from it.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tests/load/connection.h"

namespace regroup {

struct WatchLoad {
  int watchers = 200;
  int silent = 10;
  int jobs = 20;
  /// How long the jobs run while their progress changes ten times a second.
  double seconds = 10;
};

/// {"readers", "complete", "events", "progress", "silent", "first_fault"}: how many of those that read saw every
/// revision once, in order, to the end.
absl::StatusOr<nlohmann::json> LoadWatchers(const LoadOptions& users, const LoadOptions& workers,
                                            const WatchLoad& load);

}  // namespace regroup
