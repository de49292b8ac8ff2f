// Decides how an attempt ended from everything that is known about it. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Says why the worker itself ended an attempt: the class that it counts as, and a sentence.
struct Verdict {
  v1::FailureClass failure_class = v1::FAILURE_CLASS_INFRA;
  std::string message;
  /// True if the job is paused, which is no failure.
  bool is_pause = false;
};

struct AttemptEvidence {
  int ranks = 1;
  /// The wait status of the trainer or of mpirun, as waitpid gives it.
  int wait_status = 0;
  /// The outcome that a rank reported, and that rank. A failure reported after the verdict is only its consequence and
  /// is left out.
  std::optional<v1::TaskOutcome> reported;
  int reported_by = 0;
  /// Set if the worker stopped the attempt before a rank reported a failure.
  std::optional<Verdict> verdict;
  /// True if the worker killed processes: a signal in the wait status then means nothing.
  bool killed_by_worker = false;
  /// The output of mpirun, or the end of it.
  std::string launcher_output;
  /// Names the worker of a gang that did not join with all its ranks; empty if all ranks joined.
  std::string missing;
  std::vector<std::string> log_tail;
};

/// Applies these rules in order: a reported success with exit status 0 is a success, whatever else happened; so is a
/// reported end for a pause, with any exit status; a failure that a rank reported stands (but an INTERNAL one that
/// coincides with a lost worker, or with a rank killed by a signal, counts as that loss); then comes the worker's own
/// verdict; a gang that lost a worker or never formed, and a
/// signal, are INFRA; any other end without an outcome is INTERNAL. Each failure carries the log tail.
v1::TaskOutcome DecideOutcome(const AttemptEvidence& evidence);

}  // namespace regroup
