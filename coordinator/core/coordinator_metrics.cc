#include "coordinator/core/coordinator_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "services/common/base/enum_words.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/task_kinds.h"

namespace regroup {
namespace {

/// Metrics that trainers push: the name of each, and the help text of its gauge.
constexpr std::array<std::pair<const char*, const char*>, 20> kPushed = {{
    {"loss", "Training loss of the last step."},
    {"layer_loss", "Training loss of the last step of the layer in training, in layerwise distillation."},
    {"layer", "Index of the layer in training, in layerwise distillation."},
    {"validation_perplexity", "Perplexity of the student when it was last measured during training."},
    {"gate_sparsity", "Expected share of closed gates."},
    {"gate_sparsity_target", "Share of closed gates that the schedule asks for."},
    {"learning_rate", "Learning rate of the last step."},
    {"gradient_norm", "Norm of the gradient before clipping."},
    {"tokens_per_second", "Training tokens per second, over all ranks."},
    {"step_seconds", "Duration of the last step."},
    {"collective_seconds", "Time of the last step that rank 0 spent in collectives, waiting included."},
    {"slowest_rank", "Rank that computed for longest in the step before the last."},
    {"slowest_rank_seconds", "Time of that step in which that rank computed, waits for other ranks left out."},
    {"median_rank_seconds", "The same for the median of the ranks."},
    {"flops_per_second", "Floating-point operations per second that the model needs, over all ranks."},
    {"model_flops_utilization", "The model's operations per second as a share of the devices' peak."},
    {"useful_seconds", "Time of the training steps that count: repeated and skipped ones are left out."},
    {"checkpoint_seconds", "Time taken to write the last checkpoint."},
    {"checkpoint_stall_seconds", "Time that training was paused for the last checkpoint."},
    {"skipped_steps", "Steps of the current attempt that were skipped because the gradient was not finite."},
}};
/// Pushed errors of a layer, whose index is the point's step: the name of each, and the label of its gauge.
constexpr std::array<std::pair<const char*, const char*>, 2> kLayerErrors = {
    {{"layer_error_before", "before"}, {"layer_error_after", "after"}}};
constexpr const char* kLayerError = "job_layer_error";
/// Gauges that follow from the step and the time of the pushed points.
constexpr const char* kStep = "job_step";
constexpr const char* kStepTime = "job_step_timestamp_seconds";
constexpr const char* kCheckpointTime = "job_checkpoint_timestamp_seconds";
/// The gauge beside useful_seconds.
constexpr const char* kTrainingStart = "job_training_start_timestamp_seconds";

constexpr std::array<v1::JobState, 6> kLiveStates = {v1::JOB_STATE_QUEUED,     v1::JOB_STATE_RUNNING,
                                                     v1::JOB_STATE_RECOVERING, v1::JOB_STATE_CANCELLING,
                                                     v1::JOB_STATE_PAUSING,    v1::JOB_STATE_PAUSED};
constexpr std::array<v1::TaskState, 2> kLiveTaskStates = {v1::TASK_STATE_READY, v1::TASK_STATE_RUNNING};
constexpr std::array<v1::FailureClass, 6> kFailureClasses = {
    v1::FAILURE_CLASS_USER,  v1::FAILURE_CLASS_DATA, v1::FAILURE_CLASS_QUALITY_GATE,
    v1::FAILURE_CLASS_INFRA, v1::FAILURE_CLASS_HANG, v1::FAILURE_CLASS_INTERNAL};
/// The end of the year 9999: the first time that most programs cannot show.
constexpr double kNever = 253402300799;
/// Values of the label `reason`: the words of Cluster::WaitingKindsOf.
constexpr std::array<const char*, 8> kWaits = {"no_worker", "no_cuda", "draining", "too_large",
                                               "slots",     "turn",    "pause",    "quota"};
constexpr std::array<v1::WorkerState, 3> kWorkerStates = {v1::WORKER_STATE_READY, v1::WORKER_STATE_DRAINING,
                                                          v1::WORKER_STATE_LOST};

/// Jobs that are counted in one go, which takes one or two milliseconds.
constexpr size_t kJobsAtOnce = 2000;

/// Returns the known metric of a point, or nullptr.
template <size_t size>
const std::pair<const char*, const char*>* FindMetric(
    const std::array<std::pair<const char*, const char*>, size>& known, const v1::MetricPoint& point) {
  const auto found =
      std::find_if(known.begin(), known.end(), [&](const auto& one) { return point.metric() == one.first; });
  return found == known.end() ? nullptr : &*found;
}

/// Returns the task unless it has ended or has stopped for a pause of its job.
const v1::Task* FindUnfinished(const Job& job, const std::string& task) {
  const std::optional<size_t> position = job.FindTask(task);
  if (!position) return nullptr;
  const v1::TaskState state = job.task(*position).state();
  const bool has_stopped = job.IsHeld() && state != v1::TASK_STATE_RUNNING;
  return IsFinalState(state) || has_stopped ? nullptr : &job.task(*position);
}

double SecondsSince1970(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + 1e-9 * time.nanos();
}

/// Returns the labels of a finished job. `failure` is empty if it did not fail, which Prometheus treats as no label.
MetricLabels LabelsOfEnd(v1::JobState state, v1::FailureClass failure) {
  return {{"state", EnumWord(state)}, {"failure", failure == v1::FAILURE_CLASS_UNSPECIFIED ? "" : EnumWord(failure)}};
}

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
  DescribeCluster();
  DescribeJobs();
  // Create every counter at the start, so that its first event already shows as an increase.
  metrics_.Count("logs_dropped_total", {}, 0);
  metrics_.Count("points_dropped_total", {}, 0);
  metrics_.Count("store_failures_total", {}, 0);
  metrics_.Count("jobs_finished_total", LabelsOfEnd(v1::JOB_STATE_SUCCEEDED, v1::FAILURE_CLASS_UNSPECIFIED), 0);
  metrics_.Count("jobs_finished_total", LabelsOfEnd(v1::JOB_STATE_CANCELLED, v1::FAILURE_CLASS_UNSPECIFIED), 0);
  for (const v1::FailureClass failure : kFailureClasses) {
    metrics_.Count("jobs_finished_total", LabelsOfEnd(v1::JOB_STATE_FAILED, failure), 0);
  }
  metrics_.Expect("job_queue_seconds");
  metrics_.Expect("scheduling_seconds");
  for (const TaskKindRow& kind : kTaskKinds) {
    metrics_.Expect("task_seconds", {{"kind", kind.word}});
    for (const char* outcome : {"succeeded", "failed", "cancelled", "retried", "paused"}) {
      metrics_.Count("tasks_finished_total", {{"kind", kind.word}, {"outcome", outcome}}, 0);
    }
  }
  metrics_.Set("build_info", 1, {{"version", REGROUP_VERSION}});
  SetLeader(false);
  SetTokensReadable(true);
  SetQuotasReadable(true);
  SetCertificates(true, std::nullopt);
}

void CoordinatorMetrics::DescribeCluster() {
  metrics_.DescribeGauge("build_info", "1, with the coordinator's version.");
  metrics_.DescribeGauge("is_leader", "1 while this coordinator leads, 0 while it recovers or another one leads.");
  metrics_.DescribeGauge("tokens_readable",
                         "1 while the token file and those for JSON Web Tokens can be read or none is needed, 0 while "
                         "tokens are rejected.");
  metrics_.DescribeGauge("quotas_readable",
                         "1 while the file of quotas can be used or there is none, 0 while older quotas are in force.");
  metrics_.DescribeGauge(
      "certificates_usable",
      "1 while the certificate files can be used or none are needed, 0 while no new connection can be "
      "made.");
  metrics_.DescribeGauge("certificates_expiry_timestamp_seconds",
                         "Time at which the first of certificate and authority expires; the end of 9999 without TLS.");
  metrics_.DescribeGauge("jobs", "Unfinished jobs by state.");
  metrics_.DescribeGauge("jobs_waiting", "Unfinished jobs without a running task, by what they wait for.");
  metrics_.DescribeGauge("oldest_queued_job_age_seconds", "Age of the oldest job that has not started; 0 for none.");
  metrics_.DescribeCounter("jobs_finished_total", "Jobs that reached a final state.");
  metrics_.DescribeHistogram("job_queue_seconds", "Time from submission to the start of the first task.",
                             DurationBounds());
  metrics_.DescribeGauge("tasks", "Tasks that wait for a worker or run, by kind.");
  metrics_.DescribeCounter("tasks_finished_total", "Attempts that ended, by kind and outcome.");
  metrics_.DescribeHistogram("task_seconds", "Duration of successful attempts, by kind.", DurationBounds());
  metrics_.DescribeHistogram("scheduling_seconds", "Time from the end of a task's last prerequisite to its start.",
                             DurationBounds());
  metrics_.DescribeGauge("workers", "Workers by state.");
  metrics_.DescribeGauge("slots", "Slots of live workers, free and busy.");
  metrics_.DescribeGauge("worker_heartbeat_age_seconds", "Time since the last heartbeat of each worker.");
  metrics_.DescribeHistogram("rpc_seconds", "Duration of calls, by method and code.", DurationBounds());
  metrics_.DescribeCounter("webhook_deliveries_total",
                           "Attempts to deliver events to webhooks, by webhook and outcome.");
  metrics_.DescribeCounter("logs_dropped_total", "Log lines that were not stored.");
  metrics_.DescribeCounter("points_dropped_total", "Metric points that were not stored.");
  metrics_.DescribeCounter("store_failures_total", "Commits that failed in the store.");
}

void CoordinatorMetrics::DescribeJobs() {
  metrics_.DescribeGauge("job_tasks", "Tasks by state of each unfinished job that has started.");
  metrics_.DescribeGauge("job_planned_steps", "Training steps requested by an unfinished job that has started.");
  metrics_.DescribeGauge(kStep, "Last training step.");
  metrics_.DescribeGauge(kStepTime, "When the last step of a running task ended, in seconds since 1970.");
  metrics_.DescribeGauge(kTrainingStart,
                         "First start of a fine-tuning task that has not ended, in seconds since 1970.");
  metrics_.DescribeGauge(kCheckpointTime, "When the last checkpoint was written, in seconds since 1970.");
  metrics_.DescribeGauge(kLayerError,
                         "Share of a layer's output variance that is missed before and after its training.");
  for (const auto& [name, help] : kPushed) metrics_.DescribeGauge(std::string("job_") + name, help);
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
  if (!after.IsFinal()) return ObserveJob(after);
  metrics_.Count("jobs_finished_total", LabelsOfEnd(after.proto().state(), after.proto().failure().failure_class()));
  ForgetJob(after.id());
}

void CoordinatorMetrics::ObserveTask(const std::optional<Job>& before, const Job& after, size_t task) {
  const v1::Task& now = after.task(task);
  const char* const kind = WordOf(now.kind());
  const bool was_running =
      before && task < before->task_count() && before->task(task).state() == v1::TASK_STATE_RUNNING;
  if (now.state() == v1::TASK_STATE_RUNNING) {
    Time ready = FromProto(after.proto().create_time());
    for (const size_t need : after.graph().NeedsOf(task)) {
      ready = std::max(ready, FromProto(after.task(need).end_time()));
    }
    // Restarts do not count: they wait on purpose.
    if (now.epoch() == 1) metrics_.Observe("scheduling_seconds", Seconds(FromProto(now.start_time()) - ready));
  } else if (was_running) {
    const bool is_paused = now.state() == v1::TASK_STATE_READY && after.IsHeld();
    if (IsFinalState(now.state()) || is_paused) ForgetTimesOf(after.id(), std::string(LastSegment(now.name())));
    const bool is_retried = now.state() == v1::TASK_STATE_READY && !is_paused;
    const std::string outcome = is_paused ? "paused" : is_retried ? "retried" : EnumWord(now.state());
    metrics_.Count("tasks_finished_total", {{"kind", kind}, {"outcome", outcome}});
    if (now.state() == v1::TASK_STATE_SUCCEEDED) {
      metrics_.Observe("task_seconds", Seconds(FromProto(now.end_time()) - FromProto(now.start_time())),
                       {{"kind", kind}});
    }
  }
}

void CoordinatorMetrics::ObservePoint(const Job& job, const v1::MetricPoint& point) {
  const std::string& id = job.id();
  MetricLabels labels = {{"job_id", id}, {"task", point.task()}};
  const double time = SecondsSince1970(point.time());
  std::lock_guard lock(mutex_);
  if (const auto* const error = FindMetric(kLayerErrors, point)) {
    // A faulty worker must not add series without bound.
    if (point.step() < 0 || point.step() >= job.proto().model().layers()) return;
    labels.insert({{"layer", std::to_string(point.step())}, {"when", error->second}});
    return SetOfJob(id, kLayerError, point.value(), labels);
  }
  if (FindMetric(kPushed, point) == nullptr) return;
  SetOfJob(id, "job_" + point.metric(), point.value(), labels);
  if (point.metric() == "checkpoint_seconds") return SetOfJob(id, kCheckpointTime, time, labels);
  // Every other point carries the step.
  SetOfJob(id, kStep, static_cast<double>(point.step()), labels);
  const v1::Task* const task = FindUnfinished(job, point.task());
  if (task == nullptr) return;
  SetOfJob(id, kStepTime, time, labels);
  if (point.metric() != "useful_seconds" || !task->has_first_start_time()) return;
  SetOfJob(id, kTrainingStart, SecondsSince1970(task->first_start_time()), labels);
}

void CoordinatorMetrics::ForgetTimesOf(const std::string& job, const std::string& task) {
  const MetricLabels labels = {{"job_id", job}, {"task", task}};
  std::lock_guard lock(mutex_);
  const auto gauges = gauges_of_job_.find(job);
  if (gauges == gauges_of_job_.end()) return;
  for (const char* const name : {kStepTime, kTrainingStart}) {
    if (gauges->second.erase({name, labels}) > 0) metrics_.Forget(name, labels);
  }
}

void CoordinatorMetrics::SetOfJob(const std::string& job, const std::string& name, double value,
                                  const MetricLabels& labels) {
  metrics_.Set(name, value, labels);
  gauges_of_job_[job].insert({name, labels});
}

void CoordinatorMetrics::ForgetJob(const std::string& job) {
  std::lock_guard lock(mutex_);
  for (const auto& [name, labels] : gauges_of_job_[job]) metrics_.Forget(name, labels);
  gauges_of_job_.erase(job);
}

bool CoordinatorMetrics::ObserveCluster(const Cluster& cluster, Time now) {
  std::optional<JobCounts> counts = census_.Continue(cluster, now, kJobsAtOnce);
  if (!counts) return false;
  ShowJobs(*std::move(counts), now);
  ObserveWorkers(cluster, now);
  return true;
}

void CoordinatorMetrics::ShowJobs(JobCounts counts, Time now) {
  for (const v1::JobState state : kLiveStates) metrics_.Set("jobs", counts.jobs[state], {{"state", EnumWord(state)}});
  metrics_.Set("oldest_queued_job_age_seconds", counts.oldest_queued ? Seconds(now - *counts.oldest_queued) : 0);
  for (const TaskKindRow& kind : kTaskKinds) {
    for (const v1::TaskState state : kLiveTaskStates) {
      metrics_.Set("tasks", counts.tasks[{kind.kind, state}], {{"kind", kind.word}, {"state", EnumWord(state)}});
    }
  }
  for (const char* reason : kWaits) metrics_.Set("jobs_waiting", counts.waiting[reason], {{"reason", reason}});
}

void CoordinatorMetrics::ObserveJob(const Job& job) {
  // Waiting jobs get no per-job series: there may be thousands, and each would add seven to every scrape.
  if (!job.proto().has_start_time()) return;
  const std::string& id = job.id();
  std::map<v1::TaskState, int> tasks;
  for (const v1::Task& task : job.proto().tasks()) ++tasks[task.state()];
  std::lock_guard lock(mutex_);
  for (int state = v1::TASK_STATE_BLOCKED; state <= v1::TaskState_MAX; ++state) {
    const auto task_state = static_cast<v1::TaskState>(state);
    SetOfJob(id, "job_tasks", tasks[task_state], {{"job_id", id}, {"state", EnumWord(task_state)}});
  }
  const v1::Finetune& finetune = job.proto().resolved_spec().finetune();
  if (finetune.has_steps()) SetOfJob(id, "job_planned_steps", finetune.steps(), {{"job_id", id}});
}

void CoordinatorMetrics::ObserveWorkers(const Cluster& cluster, Time now) {
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
  for (const v1::WorkerState state : kWorkerStates)
    metrics_.Set("workers", workers[state], {{"state", EnumWord(state)}});
  metrics_.Set("slots", free_slots, {{"state", "free"}});
  metrics_.Set("slots", busy_slots, {{"state", "busy"}});
}

void CoordinatorMetrics::CountDroppedLogs(size_t lines) {
  metrics_.Count("logs_dropped_total", {}, static_cast<double>(lines));
}

void CoordinatorMetrics::CountDroppedPoints(size_t points) {
  metrics_.Count("points_dropped_total", {}, static_cast<double>(points));
}

void CoordinatorMetrics::CountStoreFailure() { metrics_.Count("store_failures_total"); }

void CoordinatorMetrics::SetTokensReadable(bool readable) { metrics_.Set("tokens_readable", readable ? 1 : 0); }

void CoordinatorMetrics::AddWebhook(const std::string& hook) {
  for (const char* const outcome : {"delivered", "failed", "dropped"}) {
    metrics_.Count("webhook_deliveries_total", {{"hook", hook}, {"outcome", outcome}}, 0);
  }
}

void CoordinatorMetrics::CountDelivery(const std::string& hook, const char* outcome) {
  metrics_.Count("webhook_deliveries_total", {{"hook", hook}, {"outcome", outcome}});
}

void CoordinatorMetrics::SetQuotasReadable(bool readable) { metrics_.Set("quotas_readable", readable ? 1 : 0); }

void CoordinatorMetrics::SetCertificates(bool usable, std::optional<std::chrono::system_clock::time_point> expiry) {
  metrics_.Set("certificates_usable", usable ? 1 : 0);
  metrics_.Set("certificates_expiry_timestamp_seconds",
               expiry ? std::chrono::duration<double>(expiry->time_since_epoch()).count() : kNever);
}

void CoordinatorMetrics::SetLeader(bool leads) { metrics_.Set("is_leader", leads ? 1 : 0); }

}  // namespace regroup
