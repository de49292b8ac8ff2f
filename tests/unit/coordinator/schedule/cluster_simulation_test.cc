// Random lives of a cluster, from seeds: workers crash, fall silent and come back, messages get lost or arrive late,
// the coordinator restarts and its store refuses commits. After every step the promises of the service must hold; at
// the end, when nothing fails any more, every job must come to an end.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "coordinator/schedule/cluster.h"
#include "services/base/status_macros.h"
#include "services/rpc/status.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

constexpr int kSeeds = 2000;
constexpr int kStepsPerSeed = 300;
constexpr Duration kLease = std::chrono::seconds(10);
constexpr Duration kLongestQuietEnd = std::chrono::hours(3);

/// A worker with processes of its own. It ends them when it was not heard for a lease, as it promises.
struct SimulatedWorker : FakeWorker {
  using FakeWorker::FakeWorker;
  Time heard{};
  bool is_reachable = true;
};

class Simulation {
 public:
  explicit Simulation(uint32_t seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) workers_.emplace_back(fmt::format("w{}", i), 1 + Pick(3));
  }

  void Run() {
    for (int step = 0; step < kStepsPerSeed && !::testing::Test::HasFailure(); ++step) {
      now_ += std::chrono::milliseconds(Pick(1500));
      Fence();
      RandomStep();
      cluster_.Tick(now_);
      Commit(Chance(0.03));
    }
    RunQuietly();
  }

  /// How many jobs ended in each final state.
  const std::map<v1::JobState, int>& ends() const { return ends_; }
  /// How many jobs were to be cancelled when they may already have published.
  int late_cancels() const { return late_cancels_; }

 private:
  int Pick(int below) { return static_cast<int>(random_() % static_cast<uint32_t>(below)); }
  bool Chance(double probability) { return std::uniform_real_distribution<double>()(random_) < probability; }
  SimulatedWorker& AnyWorker() { return workers_[static_cast<size_t>(Pick(static_cast<int>(workers_.size())))]; }

  void RandomStep() {
    for (SimulatedWorker& worker : workers_) {
      if (Chance(0.3)) Beat(worker);
      if (Chance(0.3)) Ask(worker);
      if (Chance(0.2)) EndAny(worker, Chance(0.1));
    }
    switch (Pick(20)) {
      case 0:
      case 1:
        return Submit();
      case 2:
        return CancelAny();
      case 3:
        return RetryAny();
      case 4:
        return Crash(AnyWorker());
      case 5:
        AnyWorker().is_reachable = Chance(0.7);
        return;
      case 6:
      case 7:
        return RepeatOldReport();
      case 8:
        return RestartCoordinator();
      case 9:
        (void)cluster_.SetDraining(AnyWorker().id, Chance(0.3));
        return;
      default:
        return;
    }
  }

  // What users do.

  void Submit() {
    if (cluster_.jobs().size() > 4) return;
    v1::JobSpec spec = SmallSpec();
    spec.mutable_finetune()->set_ranks(1 + Pick(2));
    spec.mutable_resources()->set_priority(Pick(3));
    if (Chance(0.5)) MakeShort(&spec);
    cluster_.AddJob(MakeJob(fmt::format("job-{}", ++jobs_submitted_), spec, now_));
  }

  /// Few tasks, so that many lives reach the end of a job.
  static void MakeShort(v1::JobSpec* spec) {
    spec->clear_calibration();
    spec->clear_evaluation();
    spec->mutable_finetune()->set_method("none");
  }

  std::string AnyJob() {
    if (durable_.empty()) return "none";
    auto job = durable_.begin();
    std::advance(job, Pick(static_cast<int>(durable_.size())));
    return job->first;
  }

  void CancelAny() {
    if (cluster_.jobs().size() == 0 || Chance(0.7)) return;
    auto job = cluster_.jobs().begin();
    std::advance(job, Pick(static_cast<int>(cluster_.jobs().size())));
    const bool may_have_published = job->second.record().publication_granted && !job->second.IsFinal();
    const absl::Status status = cluster_.CancelJob(job->first, now_);
    EXPECT_EQ(ReasonOf(status) == v1::WRONG_STATE, may_have_published);
    if (may_have_published) ++late_cancels_;
  }

  void RetryAny() {
    const std::string id = AnyJob();
    const auto stored = durable_.find(id);
    if (stored == durable_.end() || cluster_.jobs().Find(id) != nullptr) return;
    Job job = Job::Restore(stored->second).value();
    if (!job.Retry(now_).ok()) return;
    retried_.insert(id);
    cluster_.AddJob(std::move(job));
  }

  // What workers do.

  void Beat(SimulatedWorker& worker) {
    if (!worker.is_reachable) return;
    const absl::StatusOr<v1::HeartbeatResponse> response = cluster_.Heartbeat(worker.Heartbeat(), now_);
    if (!response.ok()) return Register(worker);
    Heard(worker, response->stop());
  }

  void Register(SimulatedWorker& worker) {
    const v1::RegisterWorkerResponse response = cluster_.Register(worker.Registration(), now_);
    Heard(worker, response.stop());
  }

  template <typename List>
  void Heard(SimulatedWorker& worker, const List& stop) {
    worker.heard = now_;
    for (const v1::AttemptId& attempt : stop) EndProcess(worker, attempt);
  }

  void EndProcess(SimulatedWorker& worker, const v1::AttemptId& attempt) {
    std::erase_if(worker.running, [&](const v1::AttemptId& other) {
      return other.job() == attempt.job() && other.task() == attempt.task() && other.epoch() == attempt.epoch();
    });
  }

  void Crash(SimulatedWorker& worker) {
    worker.running.clear();
    ++worker.incarnation;
  }

  void Ask(SimulatedWorker& worker) {
    if (!worker.is_reachable) return;
    if (cluster_.Acquire(worker.Acquire(worker.slots), ++ticket_, now_).ok()) tickets_[ticket_] = &worker;
  }

  void EndAny(SimulatedWorker& worker, bool fails) {
    if (worker.running.empty()) return;
    const v1::AttemptId attempt = worker.running[static_cast<size_t>(Pick(static_cast<int>(worker.running.size())))];
    // Time passes between the permission to publish and the end of the attempt.
    if (attempt.task() == "report" && worker.is_reachable && Chance(0.5)) {
      (void)cluster_.Report(worker.AskToPublish(attempt), now_);
      return;
    }
    EndProcess(worker, attempt);
    const auto failure = static_cast<v1::FailureClass>(1 + Pick(6));
    v1::TaskOutcome outcome = fails ? FailureOf(failure) : attempt.task() == "inspect" ? InspectSuccess() : Success();
    const v1::ReportTaskRequest report = worker.Report(attempt, outcome);
    sent_.push_back(report);
    if (worker.is_reachable) (void)Deliver(report);
  }

  /// A report task succeeds only after it was allowed to publish.
  absl::Status Deliver(const v1::ReportTaskRequest& report) {
    if (report.attempt().task() == "report" && !report.outcome().has_failure()) {
      v1::ReportTaskRequest question = report;
      question.set_may_publish(true);
      REGROUP_RETURN_IF_ERROR(cluster_.Report(question, now_));
    }
    return cluster_.Report(report, now_);
  }

  /// A message from long ago: it may be a repetition, or come from an attempt that was given up.
  void RepeatOldReport() {
    if (sent_.empty()) return;
    const v1::ReportTaskRequest& report = sent_[static_cast<size_t>(Pick(static_cast<int>(sent_.size())))];
    const Job* job = cluster_.jobs().Find(report.attempt().job());
    if (job == nullptr) return;
    const std::optional<size_t> task = job->FindTask(report.attempt().task());
    const bool is_old = task && job->task(*task).epoch() > report.attempt().epoch();
    const absl::Status status = Deliver(report);
    EXPECT_TRUE(!is_old || ReasonOf(status) == v1::STALE_EPOCH);
  }

  void Fence() {
    for (SimulatedWorker& worker : workers_) {
      if (now_ >= worker.heard + kLease) worker.running.clear();
    }
  }

  // What happens to the coordinator.

  void RestartCoordinator() {
    cluster_ = Cluster(ClusterOptions{.lease = kLease});
    tickets_.clear();
    for (const auto& [id, record] : durable_) {
      if (IsFinalState(record.job.state())) continue;
      ASSERT_TRUE(cluster_.RestoreJob(record, now_).ok());
    }
    for (const auto& [id, worker] : durable_workers_) cluster_.RestoreWorker(worker, now_);
  }

  void Commit(bool store_fails) {
    cluster_.PlaceTasks(now_);
    cluster_.SealChanges();
    const std::vector<Answer> answers = cluster_.TakeAnswers();
    if (store_fails) {
      cluster_.Rollback();
      return;
    }
    for (const auto& [id, before] : cluster_.jobs().changes()) Store(cluster_.jobs().Find(id)->record());
    for (const auto& [id, before] : cluster_.workers().changes()) durable_workers_[id] = *cluster_.workers().Find(id);
    cluster_.Commit();
    for (const Answer& answer : answers) Take(answer);
    CheckSlots();
    CheckProcesses();
  }

  /// One answer in twenty gets lost on its way.
  void Take(const Answer& answer) {
    const auto ticket = tickets_.find(answer.ticket);
    if (ticket == tickets_.end() || !answer.assignment || Chance(0.05) || !ticket->second->is_reachable) return;
    if (now_ < ticket->second->heard + kLease) ticket->second->running.push_back(answer.assignment->attempt());
  }

  // What must hold.

  void Store(const JobRecord& record) {
    const std::string id = LastSegment(record.job.name());
    const auto stored = durable_.find(id);
    if (stored != durable_.end()) CheckChange(stored->second, record);
    retried_.erase(id);
    if (IsFinalState(record.job.state())) ++ends_[record.job.state()];
    durable_[id] = record;
  }

  void CheckChange(const JobRecord& before, const JobRecord& after) {
    EXPECT_EQ(after.job.revision(), before.job.revision() + 1);
    const bool was_retried = retried_.count(LastSegment(after.job.name())) > 0;
    EXPECT_TRUE(was_retried || !IsFinalState(before.job.state())) << after.job.name();
    EXPECT_FALSE(before.publication_granted && after.job.state() == v1::JOB_STATE_CANCELLED);
    EXPECT_TRUE(after.publication_granted || after.job.state() != v1::JOB_STATE_SUCCEEDED);
    for (int task = 0; task < before.job.tasks_size(); ++task) {
      CheckTaskChange(before.job.tasks(task), after.job.tasks(task), was_retried);
    }
  }

  void CheckTaskChange(const v1::Task& before, const v1::Task& after, bool was_retried) {
    EXPECT_LE(before.epoch(), after.epoch());
    EXPECT_LE(after.epoch(), before.epoch() + 1);
    if (before.state() == v1::TASK_STATE_SUCCEEDED) {
      EXPECT_EQ(before.SerializeAsString(), after.SerializeAsString()) << "a result was applied twice";
    } else if (IsFinalState(before.state())) {
      EXPECT_TRUE(before.state() == after.state() || was_retried);
    }
    EXPECT_FALSE(before.epoch() < after.epoch() && before.state() == v1::TASK_STATE_RUNNING)
        << "two live attempts: " << before.ShortDebugString() << " then " << after.ShortDebugString();
  }

  void CheckSlots() {
    std::map<std::string, int> busy;
    for (const auto& [id, job] : cluster_.jobs()) {
      for (const size_t task : job.RunningTasks()) busy[LastSegment(job.task(task).worker())] += job.task(task).ranks();
    }
    for (const SimulatedWorker& worker : workers_) EXPECT_LE(busy[worker.id], worker.slots);
  }

  /// No process of an old epoch outlives the new one.
  void CheckProcesses() {
    std::set<std::string> seen;
    for (const SimulatedWorker& worker : workers_) {
      for (const v1::AttemptId& attempt : worker.running) {
        const bool is_new = seen.insert(TaskName(attempt.job(), attempt.task())).second;
        EXPECT_TRUE(is_new) << "two processes of " << attempt.ShortDebugString();
      }
    }
  }

  /// Without faults every job ends.
  void RunQuietly() {
    const Time deadline = now_ + kLongestQuietEnd;
    for (SimulatedWorker& worker : workers_) {
      worker.is_reachable = true;
      worker.slots = std::max(worker.slots, 2);
      Register(worker);
      (void)cluster_.SetDraining(worker.id, false);
    }
    Commit(false);
    while (cluster_.jobs().size() > 0 && now_ < deadline && !::testing::Test::HasFailure()) {
      now_ += std::chrono::seconds(1);
      for (SimulatedWorker& worker : workers_) {
        Beat(worker);
        Ask(worker);
        EndAny(worker, false);
      }
      cluster_.Tick(now_);
      Commit(false);
    }
    EXPECT_EQ(cluster_.jobs().size(), 0u)
        << "jobs did not end: " << cluster_.jobs().begin()->second.proto().DebugString();
  }

  std::mt19937 random_;
  Time now_{std::chrono::seconds(100000)};
  Cluster cluster_{ClusterOptions{.lease = kLease}};
  std::vector<SimulatedWorker> workers_;
  uint64_t ticket_ = 0;
  std::map<uint64_t, SimulatedWorker*> tickets_;
  std::vector<v1::ReportTaskRequest> sent_;
  std::map<std::string, JobRecord> durable_;
  std::map<std::string, v1::Worker> durable_workers_;
  std::set<std::string> retried_;
  int jobs_submitted_ = 0;
  std::map<v1::JobState, int> ends_;
  int late_cancels_ = 0;
};

TEST(ClusterSimulation, KeepsItsPromisesInEveryLife) {
  std::map<v1::JobState, int> ends;
  int late_cancels = 0;
  for (uint32_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(seed);
    simulation.Run();
    if (HasFailure()) break;
    for (const auto& [state, count] : simulation.ends()) ends[state] += count;
    late_cancels += simulation.late_cancels();
  }
  // Lives in which nothing succeeds, or nothing fails, would test little.
  for (const v1::JobState state : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED}) {
    EXPECT_GT(ends[state], kSeeds / 10) << v1::JobState_Name(state);
  }
  EXPECT_GT(late_cancels, 0);
}

}  // namespace
}  // namespace regroup
