// The core thread, which makes all decisions. It takes commands in batches, applies each batch to the Cluster, stores
// its effects in one durable commit, and only then answers: no reply promises anything that a crash could undo.
//
// If the commit fails, the batch is undone in memory and its callers get the store's error. Everything public may be
// called from any thread; callbacks run on the core thread and must not block.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/clocks.h"
#include "coordinator/core/coordinator_metrics.h"
#include "coordinator/core/job_feeds.h"
#include "coordinator/schedule/cluster.h"
#include "coordinator/store/job_store.h"

namespace regroup {

/// State that a command sees while the core thread runs it.
struct Turn {
  Cluster& cluster;
  JobStore& store;
  /// Changes that the batch stores in addition to changed jobs and workers.
  Changes& changes;
  Time now;

  /// Returns the job as users see it, live or from the store. NOT_FOUND (RESOURCE_NOT_FOUND) if there is none.
  absl::StatusOr<v1::Job> DescribeJob(const std::string& job) const;
};

/// Callbacks for work outside of the core. Called on the core thread after the commit; must not block.
struct CoreListener {
  /// Returns the deliveries that tell of a job that reaches a final state, before the commit that stores both.
  std::function<std::vector<Delivery>(const v1::Job&)> deliveries_of = [](const v1::Job&) {
    return std::vector<Delivery>();
  };
  /// Called when a job has reached a final state.
  std::function<void(const v1::Job&)> job_ended = [](const v1::Job&) {};
  /// Called with the id of a job that was deleted.
  std::function<void(const std::string&)> job_deleted = [](const std::string&) {};
  /// Called when another coordinator has taken over the store. All changes are rejected from then on.
  std::function<void(const absl::Status&)> store_lost = [](const absl::Status&) {};
};

class Core {
 public:
  using Apply = std::function<absl::Status(Turn&)>;
  /// Receives the status of Apply, or the store's if the change could not be stored.
  using Reply = std::function<void(const absl::Status&, const Turn&)>;
  using OnAssignment = std::function<void(const absl::Status&, const std::optional<v1::TaskAssignment>&)>;

  /// All three objects must outlive the core.
  Core(const ClusterOptions& options, JobStore* store, JobFeeds* feeds, CoordinatorMetrics* metrics, Clocks clocks);
  ~Core();

  /// Sets the callbacks. Call before Start.
  void Listen(CoreListener listener) { listener_ = std::move(listener); }
  /// Deletes jobs that have been final for this long; 0 keeps them forever. Call before Start.
  void KeepFinishedJobs(Duration time) { keep_finished_ = time; }

  /// Loads the stored state. Call before Start.
  absl::Status Recover();
  void Start();
  /// Ends all waits for a task, present and future, with UNAVAILABLE: the first step of stopping.
  void EndWaits();
  /// Answers all commands given so far and stops. No command may be given afterwards.
  void Stop();

  /// Runs a command whose changes are stored before the reply.
  void Change(Apply apply, Reply reply) { Push({std::move(apply), std::move(reply), true}); }
  /// Runs a command that changes only what is never stored, so it succeeds even if the store fails.
  void Note(Apply apply, Reply reply) { Push({std::move(apply), std::move(reply), false}); }
  void Read(std::function<void(const Turn&)> read);

  /// Waits for a task. `done` is called exactly once. Returns a ticket for StopWaiting.
  uint64_t Acquire(const v1::AcquireTaskRequest& request, OnAssignment done);
  /// Ends a wait; `done` gets the reason unless it was called before.
  void StopWaiting(const std::string& worker, uint64_t ticket,
                   const absl::Status& why = absl::CancelledError("the caller is gone"));

 private:
  struct Command {
    Apply apply;
    Reply reply;
    bool needs_store;
  };

  void Push(Command command);
  void Run();
  std::vector<Command> NextBatch();
  void RunBatch(const std::vector<Command>& batch);
  /// Stores everything that the batch changed in one durable commit.
  absl::Status Store(Effects& effects);
  absl::Status CommitChanges();
  /// Logs when the store starts to fail and when it recovers.
  void NoteStored(const absl::Status& stored);
  void CollectChanges(Effects& effects);
  void PublishChanges(const Effects& effects);
  void PublishProgress(Time now);
  void ForgetOldJobs(Time now);
  void Deliver(uint64_t ticket, const absl::Status& status, const std::optional<v1::TaskAssignment>& assignment);

  JobStore* const store_;
  JobFeeds* const feeds_;
  CoordinatorMetrics* const metrics_;
  const Clocks clocks_;
  /// How far clocks_.now is ahead of the clock that the store counts by, across restarts (count_clock.h).
  Duration ahead_{0};
  CoreListener listener_;
  Duration keep_finished_{0};

  // Owned by the core thread.
  Cluster cluster_;
  Changes changes_;
  std::map<uint64_t, OnAssignment> waiting_;
  bool waits_end_ = false;
  Time next_tick_{};
  Time next_retention_{};
  Time next_metrics_{};
  bool store_is_failing_ = false;
  /// The reason why nothing may be stored any more; OK while storing is allowed.
  absl::Status store_lost_;

  std::atomic<uint64_t> next_ticket_ = 1;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::vector<Command> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace regroup
