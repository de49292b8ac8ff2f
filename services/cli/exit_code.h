// Exit status of the program, for scripts.
#pragma once

#include "absl/status/status.h"
#include "regroup/v1/job.pb.h"

namespace regroup {

enum ExitCode : int {
  kExitDone = 0,
  /// The job failed or was cancelled, or a result is damaged.
  kExitJobFailed = 1,
  /// The command line or the job file is invalid, or the service rejected the request.
  kExitUsage = 2,
  /// The coordinator or another required program is not available.
  kExitUnavailable = 3,
};

/// Returns the exit status for the error of a call.
ExitCode ExitCodeOf(const absl::Status& status);

/// Returns the exit status for a job that reached a final state.
ExitCode ExitCodeOf(const v1::Job& job);

}  // namespace regroup
