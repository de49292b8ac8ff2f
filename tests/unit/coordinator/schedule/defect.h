// Realistic defects of a coordinator, for simulated lives in which the checks must fail.
#pragma once

namespace regroup {

/// Defects of a coordinator.
enum class Defect {
  kNone,
  /// Answers are sent although the commit failed.
  kAnswersBeforeTheCommit,
  /// A failed commit is not undone in memory.
  kKeepsWhatWasNotStored,
  /// A report counts regardless of its epoch.
  kAcceptsOldEpochs,
  /// Epochs start from 1 again after a restart.
  kForgetsEpochs,
  /// After a restart, running attempts are started again without waiting for their leases.
  kStartsAgainWhatMayRun,
  /// A lease ends before the worker's own clock says so.
  kEndsLeasesEarly,
  /// A retried job runs its finished tasks once more.
  kRetriesFinishedTasks,
  /// Changes do not get a revision.
  kLosesRevisions,
  /// A worker gets more tasks than it has slots.
  kOverbooksWorkers,
  /// A restart forgets that a job may publish.
  kForgetsPermissionToPublish,
  /// Draining a worker changes nothing.
  kGivesTasksToDrainingWorkers,
  /// A slow task starts on another worker while the slow one still runs it.
  kDoesNotWaitForSlowWorkers,
  /// The coordinator trusts its own record of what a worker runs instead of the worker's list.
  kTrustsItsOwnList,
  /// A report counts whatever process of the worker sends it.
  kAcceptsAnyIncarnation,
  /// A report counts whatever worker sends it.
  kAcceptsAnyWorker,
  /// Progress counts whatever worker sends it.
  kAcceptsProgressOfAnyWorker,
  /// A restart forgets the digests of what finished tasks wrote.
  kForgetsDigests,
};

}  // namespace regroup
