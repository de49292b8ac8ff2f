#include "coordinator/core/core.h"

#include <fmt/format.h>

#include <utility>

#include "services/common/base/error.h"
#include "services/common/base/logging.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr Duration kMetricsInterval = std::chrono::seconds(1);
constexpr Duration kRetentionInterval = std::chrono::seconds(10);
constexpr size_t kForgottenAtOnce = 100;

absl::Status Stopping() { return absl::UnavailableError("the coordinator is stopping"); }

}  // namespace

absl::StatusOr<v1::Job> Turn::DescribeJob(const std::string& job) const {
  if (const Job* live = cluster.jobs().Find(job)) return cluster.Describe(*live, now);
  REGROUP_ASSIGN_OR_RETURN(JobRecord record, store.GetJob(job));
  return std::move(record.job);
}

Core::Core(const ClusterOptions& options, JobStore* store, JobFeeds* feeds, CoordinatorMetrics* metrics, Clocks clocks)
    : store_(store), feeds_(feeds), metrics_(metrics), clocks_(std::move(clocks)), cluster_(options) {}

Core::~Core() { Stop(); }

absl::Status Core::Recover() {
  const Time now = clocks_.now();
  REGROUP_ASSIGN_OR_RETURN(std::vector<v1::Worker> workers, store_->LoadWorkers());
  for (v1::Worker& worker : workers) cluster_.RestoreWorker(std::move(worker), now);
  REGROUP_ASSIGN_OR_RETURN(const std::optional<ClockReading> last, store_->LoadClock());
  ahead_ = now - ContinueCount(last, clocks_.boot(), now);
  REGROUP_ASSIGN_OR_RETURN(std::vector<JobRecord> records, store_->LoadUnfinished());
  for (JobRecord& record : records) {
    const std::string name = record.job.name();
    record.MoveToClock(ahead_);
    const absl::Status status = cluster_.RestoreJob(std::move(record), now);
    // One unreadable job must not keep all others from running.
    if (!status.ok()) LogError("cannot restore job", {{"job", name}, {"reason", std::string(status.message())}});
  }
  for (const auto& [id, job] : cluster_.jobs()) metrics_->ObserveJob(job);
  LogInfo("recovered", {{"jobs", cluster_.jobs().size()}, {"workers", cluster_.workers().size()}});
  return absl::OkStatus();
}

void Core::Start() { thread_ = std::thread(&Core::Run, this); }

void Core::Stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  has_work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Core::Read(std::function<void(const Turn&)> read) {
  Push({nullptr, [read = std::move(read)](const absl::Status&, const Turn& turn) { read(turn); }, false});
}

uint64_t Core::Acquire(const v1::AcquireTaskRequest& request, OnAssignment done) {
  const uint64_t ticket = next_ticket_++;
  // The core thread learns the ticket before anything can answer it.
  const auto apply = [this, request, ticket, done = std::move(done)](Turn& turn) {
    waiting_[ticket] = done;
    return waits_end_ ? Stopping() : turn.cluster.Acquire(request, ticket, turn.now);
  };
  const auto reply = [this, ticket](const absl::Status& status, const Turn&) {
    if (!status.ok()) Deliver(ticket, status, std::nullopt);
  };
  Push({apply, reply, false});
  return ticket;
}

void Core::StopWaiting(const std::string& worker, uint64_t ticket, const absl::Status& why) {
  Note(
      [worker, ticket](Turn& turn) {
        turn.cluster.StopAsking(worker, ticket);
        return absl::OkStatus();
      },
      [this, ticket, why](const absl::Status&, const Turn&) { Deliver(ticket, why, std::nullopt); });
}

void Core::EndWaits() {
  Read([this](const Turn&) {
    waits_end_ = true;
    for (auto& [ticket, done] : std::exchange(waiting_, {})) done(Stopping(), std::nullopt);
  });
}

void Core::Push(Command command) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(command));
  }
  has_work_.notify_one();
}

void Core::Run() {
  while (true) {
    const std::vector<Command> batch = NextBatch();
    RunBatch(batch);
    std::lock_guard lock(mutex_);
    if (stopping_ && queue_.empty()) return;
  }
}

/// Returns all commands received so far; waits for the first one until the next tick at most.
std::vector<Core::Command> Core::NextBatch() {
  std::unique_lock lock(mutex_);
  const auto until_tick = std::max(Duration(0), next_tick_ - clocks_.now());
  has_work_.wait_for(lock, until_tick, [this] { return stopping_ || !queue_.empty(); });
  return std::exchange(queue_, {});
}

void Core::RunBatch(const std::vector<Command>& batch) {
  Turn turn{cluster_, *store_, changes_, clocks_.now()};
  std::vector<absl::Status> results;
  for (const Command& command : batch) results.push_back(command.apply ? command.apply(turn) : absl::OkStatus());
  const bool is_tick = turn.now >= next_tick_;
  if (is_tick) cluster_.Tick(turn.now);
  if (is_tick) ForgetOldJobs(turn.now);
  cluster_.PlaceTasks(turn.now);

  Effects effects = cluster_.TakeEffects();
  const absl::Status stored = Store(effects);
  const std::vector<Answer> answers = stored.ok() ? std::move(effects).Stored() : std::move(effects).NotStored();
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i].reply(results[i].ok() && batch[i].needs_store ? stored : results[i], turn);
  }
  for (const Answer& answer : answers) {
    Deliver(answer.ticket, answer.is_lost ? stored : absl::OkStatus(), answer.assignment);
  }
  if (!is_tick) return;
  next_tick_ = turn.now + kTick;
  PublishProgress(turn.now);
}

absl::Status Core::Store(Effects& effects) {
  CollectChanges(effects);
  const bool has_changes = !changes_.empty();
  if (has_changes) changes_.clock = {clocks_.boot(), clocks_.now() - ahead_};
  const absl::Status stored = has_changes ? CommitChanges() : absl::OkStatus();
  if (stored.ok()) {
    PublishChanges(effects);
  } else {
    metrics_->CountStoreFailure();
  }
  // A batch without changes says nothing about the store.
  if (has_changes) NoteStored(stored);
  changes_ = {};
  return stored;
}

void Core::NoteStored(const absl::Status& stored) {
  if (stored.ok() != store_is_failing_) return;
  store_is_failing_ = !stored.ok();
  if (store_is_failing_) {
    LogError("cannot store changes; nothing is accepted", {{"reason", std::string(stored.message())}});
  } else {
    LogInfo("changes are stored again");
  }
}

absl::Status Core::CommitChanges() {
  if (!store_lost_.ok()) return store_lost_;
  const absl::Status stored = store_->Commit(changes_);
  if (ReasonOf(stored) == v1::NOT_LEADER) {
    // The changes undone here may have been stored, or another coordinator may decide by now.
    store_lost_ = stored;
    listener_.store_lost(stored);
  }
  return stored;
}

void Core::CollectChanges(Effects& effects) {
  changes_.jobs = effects.TakeSealedJobs();
  for (JobChange& change : changes_.jobs) change.record.MoveToClock(-ahead_);
  for (const auto& [id, before] : effects.jobs()) {
    const Job& job = *cluster_.jobs().Find(id);
    if (!job.IsFinal() || (before && before->IsFinal())) continue;
    for (Delivery& delivery : listener_.deliveries_of(job.proto())) changes_.deliveries.push_back(std::move(delivery));
  }
  for (const auto& [id, before] : effects.workers()) {
    changes_.workers.push_back(*cluster_.workers().Find(id));
  }
}

void Core::PublishChanges(const Effects& effects) {
  for (const auto& [id, before] : effects.jobs()) {
    const Job& job = *cluster_.jobs().Find(id);
    metrics_->ObserveChange(before, job);
    feeds_->Notify(id);
    if (job.IsFinal()) listener_.job_ended(job.proto());
  }
  for (const JobLog& log : changes_.logs) feeds_->Notify(log.job);
  for (const JobMetric& metric : changes_.metrics) {
    // The last points of a job can arrive after its end, when its gauges have been removed.
    const Job* job = cluster_.jobs().Find(metric.job);
    if (job != nullptr && !job->IsFinal()) metrics_->ObservePoint(*job, metric.point);
    feeds_->Notify(metric.job);
  }
  for (const std::string& job : changes_.deleted_jobs) {
    feeds_->Notify(job);
    listener_.job_deleted(job);
  }
}

void Core::ForgetOldJobs(Time now) {
  if (keep_finished_ == Duration(0) || now < next_retention_) return;
  next_retention_ = now + kRetentionInterval;
  const absl::StatusOr<std::vector<std::string>> old = store_->FinishedBefore(now - keep_finished_, kForgottenAtOnce);
  if (!old.ok()) return;
  for (const std::string& job : *old) {
    // A job that was retried in this batch is no longer final.
    if (cluster_.jobs().Find(job) != nullptr) continue;
    changes_.deleted_jobs.push_back(job);
    v1::AuditEntry& entry = changes_.audit.emplace_back();
    *entry.mutable_time() = ToProto(now);
    entry.set_role("coordinator");
    entry.set_method("JobService/DeleteJob");
    entry.set_resource(JobName(job));
  }
}

void Core::PublishProgress(Time now) {
  if (now >= next_metrics_ && metrics_->ObserveCluster(cluster_, now)) next_metrics_ = now + kMetricsInterval;
  for (const std::string& id : feeds_->Subscribed()) {
    const Job* job = cluster_.jobs().Find(id);
    if (job != nullptr) feeds_->Publish(id, cluster_.Describe(*job, now));
  }
}

void Core::Deliver(uint64_t ticket, const absl::Status& status, const std::optional<v1::TaskAssignment>& assignment) {
  const auto waiting = waiting_.find(ticket);
  if (waiting == waiting_.end()) return;
  const OnAssignment done = std::move(waiting->second);
  waiting_.erase(waiting);
  done(status, assignment);
}

}  // namespace regroup
