// The coordinator's state machine of a job: its tasks, their dependencies, and what happens next. Start reading here.
//
//   QUEUED --first task starts--> RUNNING <--> RECOVERING   (a task lost its worker and is started again)
//      |                            |
//      '----------- Cancel ---------+--> CANCELLING --no task runs any more--> CANCELLED
//      '----------- Pause ----------+--> PAUSING --no task runs any more--> PAUSED --Resume--> QUEUED or RUNNING
//                                   +--> SUCCEEDED   (all tasks did)
//                                   '--> FAILED      (a task failed for good, and no other runs any more)
//
// A task goes BLOCKED -> READY -> RUNNING -> SUCCEEDED | FAILED | CANCELLED, and from RUNNING back to READY when its
// attempt failed and deserves another, or stopped for a pause. Each attempt has the next epoch; reports of any other
// epoch are rejected.
//
// The class is pure: every event carries its time and changes only the object, so that any order of events can be
// replayed. It is a value; not thread-safe. Owned by the Cluster.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/job/graph.h"
#include "coordinator/job/retry.h"
#include "coordinator/job/time.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// A job as the store keeps it: the public message, and state that only the coordinator uses.
struct JobRecord {
  v1::Job job;
  /// One for each of job.tasks.
  std::vector<RetryState> retries;
  /// True once an attempt of the report task was allowed to publish. Its rename may have happened, so the job can no
  /// longer be cancelled.
  bool publication_granted = false;
  /// When the job started to run, on the core's clock; unset before.
  Time run_start{};
  /// When the pause was requested that the job is in, on the same clock; unset while it is not paused.
  Time pause_start{};

  /// Moves the times that count, such as the end of a pause, to a clock that is ahead by `ahead`.
  void MoveToClock(Duration ahead);
};

/// A job after a change, and the positions of the changed tasks: all of them for a new job.
struct JobChange {
  JobRecord record;
  std::vector<size_t> changed_tasks;
};

/// Progress of an attempt when it ended.
struct Reached {
  int64_t done = 0;
  std::vector<std::string> log_tail;
};

/// A worker's id, and the number of ranks of a task that it runs.
struct WorkerRanks {
  std::string worker;
  int ranks = 1;
};

class Job {
 public:
  /// Returns a new job, QUEUED, whose inspect task is READY.
  static Job Create(const std::string& id, const v1::JobSpec& spec, const v1::JobSpec& resolved, Time now,
                    const std::string& owner = "", const std::string& traceparent = "");

  /// Restores a job from the store. INTERNAL if its tasks differ from its graph: another version of Regroup made it.
  /// A job with more tasks than a job may have, which an older version accepted, fails: it is FAILED, or as soon as no
  /// task of it runs any more.
  static absl::StatusOr<Job> Restore(JobRecord record, Time now);

  // Events.

  /// Starts the next attempt of a READY task on one worker, or on several of which the first leads. Returns its epoch.
  int64_t Start(size_t task, const std::vector<WorkerRanks>& workers, Time now);
  int64_t Start(size_t task, const std::string& worker, Time now);

  /// Ends the current attempt of a RUNNING task with the outcome that it reported.
  void Finish(size_t task, const v1::TaskOutcome& outcome, const Reached& reached, Time now);

  /// Gives up the current attempt of a RUNNING task that was lost, for example with its worker.
  void Lose(size_t task, const std::string& why, const Reached& reached, Time now);

  /// Gives up the current attempt of a RUNNING task although its worker is healthy, to start it elsewhere at once. It
  /// counts as a loss of infrastructure, but not as a restart without progress.
  void Move(size_t task, const std::string& why, Time now);

  /// Stops the job; a job in a final state stays as it is. FAILED_PRECONDITION (WRONG_STATE) once it may have
  /// published.
  absl::Status Cancel(Time now);

  /// Stops the job's tasks until Resume. A job that is paused already stays so, and no longer gives way to another.
  /// FAILED_PRECONDITION (WRONG_STATE) for a job that has ended or is about to, and once it may have published.
  absl::Status Pause(Time now);

  /// Pauses the job for another one of higher priority; see Pause. The owner of the jobs resumes it.
  absl::Status GiveWayTo(const std::string& other, Time now);

  /// Lets a PAUSING or PAUSED job go on. The time since Pause does not count towards resources.max_runtime_s.
  /// FAILED_PRECONDITION (WRONG_STATE) otherwise.
  absl::Status Resume(Time now);

  /// Starts the unfinished tasks of a FAILED or CANCELLED job again, with new budgets. FAILED_PRECONDITION
  /// (WRONG_STATE) otherwise.
  absl::Status Retry(Time now);

  /// Fails the job if it has run for longer than resources.max_runtime_s. Returns whether it did.
  bool FailIfOverdue(Time now);

  /// Records that the running report task may publish.
  void GrantPublication() { record_.publication_granted = true; }

  /// Advances the revision. Call once for each durable change.
  void NextRevision() { record_.job.set_revision(record_.job.revision() + 1); }

  // Questions.

  const JobRecord& record() const { return record_; }
  const v1::Job& proto() const { return record_.job; }
  const std::string& id() const { return id_; }
  const Graph& graph() const { return *graph_; }
  const v1::Task& task(size_t position) const { return record_.job.tasks(static_cast<int>(position)); }
  size_t task_count() const { return static_cast<size_t>(record_.job.tasks_size()); }
  std::optional<size_t> FindTask(const std::string& task_id) const;
  /// Returns the folder of the task's current or last attempt's results, relative to the working folder.
  std::string ResultFolder(size_t task) const;

  /// Returns true if the job is SUCCEEDED, FAILED or CANCELLED.
  bool IsFinal() const;
  /// Returns true if no task may start and running ones must stop: the job is cancelled, or a task failed for good.
  bool IsWindingDown() const { return proto().state() == v1::JOB_STATE_CANCELLING || proto().has_failure(); }
  /// Returns true from Pause to Resume: no task may start, and running ones should stop when they have kept their work.
  bool IsHeld() const;
  bool IsOverdue(Time now) const;
  /// Returns the tasks that may start now, in order; none while the job is paused.
  std::vector<size_t> ReadyTasks(Time now) const;
  std::vector<size_t> RunningTasks() const { return TasksIn(v1::TASK_STATE_RUNNING); }
  std::vector<size_t> TasksIn(v1::TaskState state) const;
  /// Returns the tasks that differ from `before`; all of them without it.
  std::vector<size_t> TasksChangedSince(const std::optional<Job>& before) const;
  bool HasChangedSince(const std::optional<Job>& before) const;

 private:
  Job(JobRecord record, std::shared_ptr<const Graph> graph);

  v1::Task& MutableTask(size_t position) { return *record_.job.mutable_tasks(static_cast<int>(position)); }
  void Succeed(size_t task, const v1::TaskOutcome& outcome);
  void Fail(size_t task, v1::Failure failure, const Reached& reached, Time now);
  /// Returns true if the attempt ended because of a pause. What is lost while the job pauses counts as such an end.
  bool EndedForPause(const v1::TaskOutcome& outcome) const;
  /// Leaves `duration` out of the time that unfinished tasks have taken since they first started.
  void LeaveOut(Duration duration);
  /// Leaves a pause that is over out of all times.
  void EndPause(Time now);
  /// Returns true from the permission to publish until the result is published.
  bool IsPublishing() const;
  /// Returns true if the result is a folder that is published: only its copy to a bucket may be missing.
  bool HasPublishedFolder() const;
  void FailForGood(const v1::Failure& failure);
  /// Fails the job because of what its inspect task reported; the task runs again if the job is retried.
  void RejectModel(size_t task, const v1::Failure& failure);
  void ExpandGraph();
  void AppendTask(size_t position);
  void UnblockTasks();
  void CancelWaitingTasks();
  bool NeedsAreMet(size_t task) const;
  bool HasTaskIn(v1::TaskState state) const;
  bool AllTasksSucceeded() const;
  bool IsRecovering() const;
  int64_t CheckpointAt(size_t task, int64_t done) const;
  std::string ReportFolder(size_t task, const v1::TaskOutcome& outcome) const;
  v1::JobState NextState() const;
  void Settle(Time now);

  std::string id_;
  JobRecord record_;
  /// Shared between copies; replaced when `inspect` is done.
  std::shared_ptr<const Graph> graph_;
  /// OK, or why the job can never run; its graph has only the names of its tasks then.
  absl::Status can_run_;
};

/// Returns the workers of a task's current or last attempt, the lead first; none before the first attempt.
std::vector<WorkerRanks> WorkersOf(const v1::Task& task);

/// Returns true if the worker leads the task's current or last attempt, or helps with it.
bool RunsOn(const v1::Task& task, const std::string& worker);

}  // namespace regroup
