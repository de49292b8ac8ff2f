#include "services/cli/stage_summary.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "services/cli/quantity_text.h"

namespace regroup {
namespace {

std::string TaskIdOf(const v1::Task& task) { return task.name().substr(task.name().rfind('/') + 1); }

std::string KindName(v1::TaskKind kind) {
  static const std::map<v1::TaskKind, std::string> names = {
      {v1::TASK_KIND_INSPECT, "inspect"},   {v1::TASK_KIND_CALIBRATE, "calibrate"}, {v1::TASK_KIND_ALIGN, "align"},
      {v1::TASK_KIND_REFINE, "refine"},     {v1::TASK_KIND_FINETUNE, "finetune"},   {v1::TASK_KIND_EXPORT, "export"},
      {v1::TASK_KIND_EVALUATE, "evaluate"}, {v1::TASK_KIND_REPORT, "report"}};
  const auto found = names.find(kind);
  return found == names.end() ? "task" : found->second;
}

/// "evaluate source" for a task that measures one of the four models of a job, otherwise its kind.
std::string StageName(const v1::Task& task) {
  if (task.kind() != v1::TASK_KIND_EVALUATE) return KindName(task.kind());
  const std::string id = TaskIdOf(task);
  for (const std::string_view subject : {"source", "averaged", "aligned", "result"}) {
    if (id == "evaluate-" + std::string(subject)) return "evaluate " + std::string(subject);
  }
  return "evaluate";
}

int RankOf(const std::string& stage) {
  static constexpr std::string_view order[] = {"inspect", "calibrate", "evaluate source",  "evaluate averaged",
                                               "align",   "refine",    "evaluate aligned", "finetune",
                                               "export",  "evaluate",  "evaluate result",  "report"};
  return static_cast<int>(std::find(std::begin(order), std::end(order), stage) - std::begin(order));
}

v1::TaskState StateOf(const std::vector<const v1::Task*>& tasks) {
  const auto any = [&](v1::TaskState state) {
    return std::any_of(tasks.begin(), tasks.end(), [&](const v1::Task* task) { return task->state() == state; });
  };
  if (any(v1::TASK_STATE_FAILED)) return v1::TASK_STATE_FAILED;
  if (any(v1::TASK_STATE_RUNNING)) return v1::TASK_STATE_RUNNING;
  if (any(v1::TASK_STATE_CANCELLED)) return v1::TASK_STATE_CANCELLED;
  const bool some_done = any(v1::TASK_STATE_SUCCEEDED);
  if (any(v1::TASK_STATE_READY)) return some_done ? v1::TASK_STATE_RUNNING : v1::TASK_STATE_READY;
  if (any(v1::TASK_STATE_BLOCKED)) return some_done ? v1::TASK_STATE_RUNNING : v1::TASK_STATE_BLOCKED;
  return v1::TASK_STATE_SUCCEEDED;
}

double ElapsedOf(const std::vector<const v1::Task*>& tasks, bool running, double now_s) {
  double start = 0;
  double end = 0;
  for (const v1::Task* task : tasks) {
    if (!task->has_start_time()) continue;
    const double started = SecondsOf(task->start_time());
    start = start == 0 ? started : std::min(start, started);
    if (task->has_end_time()) end = std::max(end, SecondsOf(task->end_time()));
  }
  if (start == 0) return 0;
  return std::max(0.0, (running || end == 0 ? now_s : end) - start);
}

std::optional<double> MetricOf(const v1::Progress& progress, const std::string& name) {
  const auto found = progress.metrics().find(name);
  if (found == progress.metrics().end()) return std::nullopt;
  return found->second;
}

void TakeProgress(const v1::Task& task, StageSummary& stage) {
  const v1::Progress& progress = task.progress();
  stage.done = progress.done();
  stage.total = progress.total();
  stage.unit = progress.phase();
  stage.loss = MetricOf(progress, "loss");
  stage.tokens_per_second = MetricOf(progress, "tokens_per_second");
  if (progress.has_remaining()) {
    stage.remaining_s = static_cast<double>(progress.remaining().seconds()) + 1e-9 * progress.remaining().nanos();
  }
}

/// From the pace so far, where the task itself gives no estimate.
std::optional<double> RemainingOf(const StageSummary& stage) {
  constexpr double shortest_evidence_s = 1;
  if (stage.done <= 0 || stage.total <= stage.done || stage.elapsed_s < shortest_evidence_s) return std::nullopt;
  return stage.elapsed_s / static_cast<double>(stage.done) * static_cast<double>(stage.total - stage.done);
}

StageSummary Summarise(const std::string& name, const std::vector<const v1::Task*>& tasks, double now_s) {
  StageSummary stage;
  stage.name = name;
  stage.kind = tasks.front()->kind();
  stage.state = StateOf(tasks);
  stage.tasks = static_cast<int>(tasks.size());
  for (const v1::Task* task : tasks) {
    stage.tasks_done += task->state() == v1::TASK_STATE_SUCCEEDED ? 1 : 0;
    stage.epoch = std::max(stage.epoch, task->epoch());
  }
  stage.elapsed_s = ElapsedOf(tasks, stage.state == v1::TASK_STATE_RUNNING, now_s);
  if (tasks.size() == 1) {
    TakeProgress(*tasks.front(), stage);
  } else {
    stage.done = stage.tasks_done;
    stage.total = stage.tasks;
    stage.unit = stage.kind == v1::TASK_KIND_ALIGN ? "layers" : "tasks";
  }
  // A later attempt goes on from a checkpoint: time and work since the first say nothing about its pace.
  if (!stage.remaining_s && stage.epoch <= 1) stage.remaining_s = RemainingOf(stage);
  return stage;
}

}  // namespace

double StageSummary::Fraction() const {
  if (state == v1::TASK_STATE_SUCCEEDED) return 1;
  if (total <= 0) return 0;
  return std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
}

bool StageSummary::IsFinal() const {
  return state == v1::TASK_STATE_SUCCEEDED || state == v1::TASK_STATE_FAILED || state == v1::TASK_STATE_CANCELLED;
}

std::vector<StageSummary> SummariseStages(const v1::Job& job, double now_s) {
  std::map<std::pair<int, std::string>, std::vector<const v1::Task*>> tasks_by_stage;
  for (const v1::Task& task : job.tasks()) {
    const std::string name = StageName(task);
    tasks_by_stage[{RankOf(name), name}].push_back(&task);
  }
  std::vector<StageSummary> stages;
  for (const auto& [key, tasks] : tasks_by_stage) stages.push_back(Summarise(key.second, tasks, now_s));
  return stages;
}

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

double JobSeconds(const v1::Job& job, double now_s) {
  const double start = SecondsOf(job.has_start_time() ? job.start_time() : job.create_time());
  if (start == 0) return 0;
  return std::max(0.0, (job.has_end_time() ? SecondsOf(job.end_time()) : now_s) - start);
}

}  // namespace regroup
