// What the program's exit status says to scripts.
#pragma once

#include "absl/status/status.h"
#include "regroup/v1/job.pb.h"

namespace regroup {

enum ExitCode : int {
  kExitDone = 0,
  /// The job failed or was cancelled.
  kExitJobFailed = 1,
  /// The command line or the job file is wrong, or the service refused the request.
  kExitUsage = 2,
  /// The coordinator, or a program that is needed, cannot be reached.
  kExitUnavailable = 3,
};

/// For an error of a call.
ExitCode ExitCodeOf(const absl::Status& status);

/// For a job that reached a final state.
ExitCode ExitCodeOf(const v1::Job& job);

}  // namespace regroup
