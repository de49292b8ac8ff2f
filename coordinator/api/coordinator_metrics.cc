#include "coordinator/api/coordinator_metrics.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace regroup {
namespace {

/// Metrics that trainers push, by the name they give them, and the gauge each becomes.
constexpr std::array<std::pair<const char*, const char*>, 12> kJobGauges = {{
    {"step", "Last training step."},
    {"loss", "Training loss of the last step."},
    {"distillation_loss", "Part of the loss from the teacher."},
    {"sparsity_loss", "Part of the loss from the gates."},
    {"gate_sparsity", "Expected share of closed gates."},
    {"gate_sparsity_target", "Share of closed gates that the schedule wants."},
    {"learning_rate", "Learning rate of the last step."},
    {"gradient_norm", "Norm of the gradient before clipping."},
    {"tokens_per_second", "Training tokens a second, over all ranks."},
    {"step_seconds", "Duration of the last step."},
    {"collective_seconds", "Time of the last step in collective operations."},
    {"checkpoint_seconds", "Duration of the last checkpoint."},
}};

constexpr std::array<v1::JobState, 4> kLiveStates = {v1::JOB_STATE_QUEUED, v1::JOB_STATE_RUNNING,
                                                     v1::JOB_STATE_RECOVERING, v1::JOB_STATE_CANCELLING};
constexpr std::array<v1::WorkerState, 3> kWorkerStates = {v1::WORKER_STATE_READY, v1::WORKER_STATE_DRAINING,
                                                          v1::WORKER_STATE_LOST};

std::string Word(v1::JobState state) { return WordOf(v1::JobState_Name(state), "JOB_STATE_"); }
std::string Word(v1::TaskState state) { return WordOf(v1::TaskState_Name(state), "TASK_STATE_"); }
std::string Word(v1::TaskKind kind) { return WordOf(v1::TaskKind_Name(kind), "TASK_KIND_"); }
std::string Word(v1::WorkerState state) { return WordOf(v1::WorkerState_Name(state), "WORKER_STATE_"); }
std::string Word(v1::FailureClass failure) { return WordOf(v1::FailureClass_Name(failure), "FAILURE_CLASS_"); }

std::string CodeName(grpc::StatusCode code) {
  static constexpr std::array<const char*, 17> kNames = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  const size_t index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : "UNKNOWN";
}

}  // namespace

CoordinatorMetrics::CoordinatorMetrics() {
  metrics_.DescribeGauge("jobs", "Unfinished jobs by state.");
  metrics_.DescribeCounter("jobs_finished_total", "Jobs that reached a final state.");
  metrics_.DescribeHistogram("job_queue_seconds", "From submission to the start of the first task.", DurationBounds());
  metrics_.DescribeCounter("tasks_finished_total", "Attempts that ended, by kind and outcome.");
  metrics_.DescribeHistogram("task_seconds", "Duration of successful attempts, by kind.", DurationBounds());
  metrics_.DescribeHistogram("scheduling_seconds", "From the end of the last task it needs to the start of a task.",
                             DurationBounds());
  metrics_.DescribeGauge("workers", "Workers by state.");
  metrics_.DescribeGauge("slots", "Slots of live workers, free and busy.");
  metrics_.DescribeGauge("worker_heartbeat_age_seconds", "Time since the last heartbeat of each worker.");
  metrics_.DescribeHistogram("rpc_seconds", "Duration of calls, by method and code.", DurationBounds());
  metrics_.DescribeCounter("logs_dropped_total", "Log lines that were not stored.");
  metrics_.DescribeCounter("store_failures_total", "Commits that the store refused.");
  for (const auto& [name, help] : kJobGauges) metrics_.DescribeGauge(std::string("job_") + name, help);
  metrics_.Count("logs_dropped_total", {}, 0);
  metrics_.Count("store_failures_total", {}, 0);
}

void CoordinatorMetrics::ObserveCall(std::string_view method, grpc::StatusCode code, double seconds) {
  metrics_.Observe("rpc_seconds", seconds, {{"method", std::string(method)}, {"code", CodeName(code)}});
}

void CoordinatorMetrics::ObserveChange(const std::optional<Job>& before, const Job& after) {
  for (const size_t task : after.TasksChangedSince(before)) ObserveTask(before, after, task);
  const bool had_started = before && before->proto().has_start_time();
  if (after.proto().has_start_time() && !had_started) {
    metrics_.Observe("job_queue_seconds",
                     Seconds(FromProto(after.proto().start_time()) - FromProto(after.proto().create_time())));
  }
  if (!after.IsFinal()) return;
  const std::string failure = after.proto().has_failure() ? Word(after.proto().failure().failure_class()) : "";
  metrics_.Count("jobs_finished_total", {{"state", Word(after.proto().state())}, {"failure", failure}});
  ForgetJob(after.id());
}

void CoordinatorMetrics::ObserveTask(const std::optional<Job>& before, const Job& after, size_t task) {
  const v1::Task& now = after.task(task);
  const std::string kind = Word(now.kind());
  const bool was_running =
      before && task < before->task_count() && before->task(task).state() == v1::TASK_STATE_RUNNING;
  if (now.state() == v1::TASK_STATE_RUNNING) {
    Time ready = FromProto(after.proto().create_time());
    for (const size_t need : after.graph().tasks[task].needs) {
      ready = std::max(ready, FromProto(after.task(need).end_time()));
    }
    // Restarts wait on purpose.
    if (now.epoch() == 1) metrics_.Observe("scheduling_seconds", Seconds(FromProto(now.start_time()) - ready));
  } else if (was_running) {
    const bool is_retried = now.state() == v1::TASK_STATE_READY;
    metrics_.Count("tasks_finished_total", {{"kind", kind}, {"outcome", is_retried ? "retried" : Word(now.state())}});
    if (now.state() == v1::TASK_STATE_SUCCEEDED) {
      metrics_.Observe("task_seconds", Seconds(FromProto(now.end_time()) - FromProto(now.start_time())),
                       {{"kind", kind}});
    }
  }
}

void CoordinatorMetrics::ObservePoint(const std::string& job, const v1::MetricPoint& point) {
  // Points are pushed under the trainer's names; the step comes with each of them.
  const MetricLabels labels = {{"job", job}, {"task", point.task()}};
  std::lock_guard lock(mutex_);
  for (const auto& [name, help] : kJobGauges) {
    if (point.metric() != name) continue;
    metrics_.Set(std::string("job_") + name, point.value(), labels);
    metrics_.Set("job_step", static_cast<double>(point.step()), labels);
    gauges_of_job_[job].insert(point.task());
  }
}

void CoordinatorMetrics::ForgetJob(const std::string& job) {
  std::lock_guard lock(mutex_);
  for (const std::string& task : gauges_of_job_[job]) {
    for (const auto& [name, help] : kJobGauges) {
      metrics_.Forget(std::string("job_") + name, {{"job", job}, {"task", task}});
    }
  }
  gauges_of_job_.erase(job);
}

void CoordinatorMetrics::ObserveCluster(const Cluster& cluster, Time now) {
  std::map<v1::JobState, int> jobs;
  for (const auto& [id, job] : cluster.jobs()) ++jobs[job.proto().state()];
  for (const v1::JobState state : kLiveStates) metrics_.Set("jobs", jobs[state], {{"state", Word(state)}});

  std::map<v1::WorkerState, int> workers;
  int free_slots = 0;
  int busy_slots = 0;
  for (const auto& [id, stored] : cluster.workers()) {
    const v1::Worker worker = cluster.Describe(stored, now);
    ++workers[worker.state()];
    const Duration age = now - FromProto(worker.heartbeat_time());
    metrics_.Set("worker_heartbeat_age_seconds", Seconds(age), {{"worker", id}});
    if (worker.state() == v1::WORKER_STATE_LOST) continue;
    busy_slots += worker.busy_slots();
    free_slots += std::max(0, worker.slots() - worker.busy_slots());
  }
  for (const v1::WorkerState state : kWorkerStates) metrics_.Set("workers", workers[state], {{"state", Word(state)}});
  metrics_.Set("slots", free_slots, {{"state", "free"}});
  metrics_.Set("slots", busy_slots, {{"state", "busy"}});
}

void CoordinatorMetrics::CountDroppedLogs(size_t lines) {
  metrics_.Count("logs_dropped_total", {}, static_cast<double>(lines));
}

void CoordinatorMetrics::CountStoreFailure() { metrics_.Count("store_failures_total"); }

}  // namespace regroup
