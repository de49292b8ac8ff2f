// Defects that a coordinator could really have, for lives of the simulation that must not go well.
#pragma once

namespace regroup {

/// What can be wrong with a coordinator.
enum class Defect {
  kNone,
  /// Answers are sent although the commit failed.
  kAnswersBeforeTheCommit,
  /// A failed commit is not undone in memory.
  kKeepsWhatWasNotStored,
  /// A report counts whatever its epoch.
  kAcceptsOldEpochs,
  /// Epochs start from 1 again after a restart.
  kForgetsEpochs,
  /// After a restart, what ran is started again without waiting for its lease.
  kStartsAgainWhatMayRun,
  /// A lease ends before the worker's own clock says so.
  kEndsLeasesEarly,
  /// A retried job runs its finished tasks once more.
  kRetriesFinishedTasks,
  /// Changes do not get a revision.
  kLosesRevisions,
  /// A worker gets more than it has slots.
  kOverbooksWorkers,
  /// A restart forgets that a job may publish.
  kForgetsPermissionToPublish,
  /// Draining a worker changes nothing.
  kGivesTasksToDrainingWorkers,
  /// A slow task starts on another worker while the slow one still runs it.
  kDoesNotWaitForSlowWorkers,
  /// What a worker runs is believed, not asked.
  kTrustsItsOwnList,
};

}  // namespace regroup
