// Follows a job to its end: reads its events, keeps a view up to date, and survives a coordinator that restarts.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/job_service.pb.h"
#include "services/cli/client.h"
#include "services/cli/progress_view.h"

namespace regroup {

struct FollowOptions {
  /// Time for which the coordinator may be unreachable.
  std::chrono::seconds patience{60};
  /// Called on every turn of the loop (about ten a second) from the calling thread; an error ends FollowJob.
  std::function<absl::Status(const v1::Job& job)> on_turn;
  /// Called with every event as it arrives, from the calling thread.
  std::function<void(const v1::JobEvent& event)> on_event;
};

/// Blocks until the job is final and returns it. Errors: that of `on_turn`, a rejection by the service, or UNAVAILABLE
/// after `patience`.
absl::StatusOr<v1::Job> FollowJob(const Client& client, const std::string& job_name, ProgressView& view,
                                  const FollowOptions& options);

}  // namespace regroup
