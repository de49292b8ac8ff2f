#include "services/cli/stage_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <compare>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include "services/cli/quantity_text.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/task_kinds.h"
#include "services/common/base/task_roles.h"

namespace regroup {
namespace {

/// Evaluations of a single conversion are separate stages, each after the last stage that may change its model.
struct EvaluateStage {
  std::string_view subject;
  v1::TaskKind after;
};
constexpr EvaluateStage kEvaluateStages[] = {{kSourceSubject, v1::TASK_KIND_CALIBRATE},
                                             {kAveragedSubject, v1::TASK_KIND_CALIBRATE},
                                             {kAlignedSubject, v1::TASK_KIND_REFINE},
                                             {kLayerwiseSubject, v1::TASK_KIND_REFINE},
                                             {kResultSubject, v1::TASK_KIND_EVALUATE}};

/// Sorts stages in the order in which a job runs them.
struct StageKey {
  /// Position in kTaskKinds.
  size_t position = 0;
  /// 1 or more for the stages of kEvaluateStages, 0 for others.
  size_t evaluate = 0;
  std::string name;
  auto operator<=>(const StageKey&) const = default;
};

/// Returns the stage of a task: "evaluate source" and so on if it measures one of the models of a job, otherwise its
/// kind. If the job trains its layers one by one, `distills`, it refines them later than the aligned model.
StageKey StageOf(const v1::Task& task, bool distills) {
  const std::string word = WordOf(task.kind());
  if (task.kind() == v1::TASK_KIND_EVALUATE) {
    for (size_t place = 0; place < std::size(kEvaluateStages); ++place) {
      const auto& [subject, after] = kEvaluateStages[place];
      if (LastSegment(task.name()) != fmt::format("{}-{}", word, subject)) continue;
      const bool before_layerwise = distills && subject == kAlignedSubject;
      return {OrderOf(before_layerwise ? v1::TASK_KIND_ALIGN : after), place + 1, fmt::format("{} {}", word, subject)};
    }
  }
  return {OrderOf(task.kind()), 0, word};
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
  stage.loss = MetricOf(progress, task.kind() == v1::TASK_KIND_LAYERWISE ? "layer_loss" : "loss");
  stage.tokens_per_second = MetricOf(progress, "tokens_per_second");
  if (progress.has_remaining()) {
    stage.remaining_s = static_cast<double>(progress.remaining().seconds()) + 1e-9 * progress.remaining().nanos();
  }
}

/// Counts the layers of all tasks. Layers of a block are trained one after the other, each for as many steps: the share
/// of finished steps gives the finished layers.
void CountLayers(const std::vector<const v1::Task*>& tasks, StageSummary& stage) {
  stage.unit = "layers";
  for (const v1::Task* task : tasks) {
    const int64_t layers = task->layers();
    stage.total += layers;
    if (task->state() == v1::TASK_STATE_SUCCEEDED) stage.done += layers;
    if (task->state() != v1::TASK_STATE_RUNNING || task->progress().total() <= 0) continue;
    const int64_t total = task->progress().total();
    const int64_t steps = std::clamp<int64_t>(task->progress().done(), 0, total);
    stage.done += layers * steps / total;
    stage.partly_done += static_cast<double>(layers * steps % total) / static_cast<double>(total);
  }
}

/// Takes the mean loss and the speed of all tasks that run.
void TakeTraining(const std::vector<const v1::Task*>& tasks, StageSummary& stage) {
  double loss = 0;
  int measured = 0;
  for (const v1::Task* task : tasks) {
    if (task->state() != v1::TASK_STATE_RUNNING) continue;
    if (const auto speed = MetricOf(task->progress(), "tokens_per_second")) {
      stage.tokens_per_second = stage.tokens_per_second.value_or(0) + *speed;
    }
    if (const auto of_layer = MetricOf(task->progress(), "layer_loss")) {
      loss += *of_layer;
      ++measured;
    }
  }
  if (measured > 0) stage.loss = loss / measured;
}

/// Estimates the remaining seconds from the pace so far, for a task without an estimate of its own.
std::optional<double> RemainingOf(const StageSummary& stage) {
  constexpr double shortest_evidence_s = 1;
  const double done = static_cast<double>(stage.done) + stage.partly_done;
  const double rest = static_cast<double>(stage.total) - done;
  if (done <= 0 || rest <= 0 || stage.elapsed_s < shortest_evidence_s) return std::nullopt;
  return stage.elapsed_s / done * rest;
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
  } else if (stage.kind == v1::TASK_KIND_LAYERWISE) {
    CountLayers(tasks, stage);
    TakeTraining(tasks, stage);
  } else {
    stage.done = stage.tasks_done;
    stage.total = stage.tasks;
    stage.unit = stage.kind == v1::TASK_KIND_ALIGN ? "layers" : "tasks";
  }
  // A later attempt resumes from a checkpoint, so the time and work since the first attempt do not give its pace.
  if (!stage.remaining_s && stage.epoch <= 1) stage.remaining_s = RemainingOf(stage);
  return stage;
}

}  // namespace

double StageSummary::Fraction() const {
  if (state == v1::TASK_STATE_SUCCEEDED) return 1;
  if (total <= 0) return 0;
  return std::clamp((static_cast<double>(done) + partly_done) / static_cast<double>(total), 0.0, 1.0);
}

bool StageSummary::IsFinal() const { return IsFinalState(state); }

std::vector<StageSummary> SummariseStages(const v1::Job& job, double now_s) {
  const bool distills = std::any_of(job.tasks().begin(), job.tasks().end(),
                                    [](const v1::Task& task) { return task.kind() == v1::TASK_KIND_LAYERWISE; });
  std::map<StageKey, std::vector<const v1::Task*>> tasks_by_stage;
  for (const v1::Task& task : job.tasks()) tasks_by_stage[StageOf(task, distills)].push_back(&task);
  std::vector<StageSummary> stages;
  for (const auto& [key, tasks] : tasks_by_stage) {
    stages.push_back(Summarise(key.name, tasks, now_s));
    stages.back().is_paused = job.state() == v1::JOB_STATE_PAUSED || job.state() == v1::JOB_STATE_PAUSING;
  }
  return stages;
}

double JobSeconds(const v1::Job& job, double now_s) {
  const double start = SecondsOf(job.has_start_time() ? job.start_time() : job.create_time());
  if (start == 0) return 0;
  return std::max(0.0, (job.has_end_time() ? SecondsOf(job.end_time()) : now_s) - start);
}

}  // namespace regroup
