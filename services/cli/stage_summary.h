// Groups a job's tasks into the stages of the progress display. Pure.
//
// Align tasks of all layers are one stage, and so are layerwise tasks of all blocks of layers. In a sweep the tasks of
// one kind are one stage, whatever their arm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regroup/v1/job.pb.h"

namespace regroup {

/// One line of the progress display.
struct StageSummary {
  std::string name;
  v1::TaskKind kind = v1::TASK_KIND_UNSPECIFIED;
  v1::TaskState state = v1::TASK_STATE_UNSPECIFIED;
  /// Number of tasks of the stage: finished, and in total.
  int tasks_done = 0;
  int tasks = 0;
  /// Units done and in total: those of the task, or layers or tasks if the stage has several. A total of 0 is unknown.
  int64_t done = 0;
  int64_t total = 0;
  /// Parts of further units that running tasks have done, added up; only where the units are layers of running tasks.
  double partly_done = 0;
  /// Unit of `done` and `total`: "step", "windows", "layers".
  std::string unit;
  double elapsed_s = 0;
  std::optional<double> remaining_s;
  /// Training loss; that of layerwise distillation is the mean over the layers in training.
  std::optional<double> loss;
  std::optional<double> tokens_per_second;
  /// The highest epoch of its tasks: above 1, a task was restarted.
  int64_t epoch = 0;
  /// True if its job is paused, so that it waits for no worker.
  bool is_paused = false;

  /// Returns the finished fraction, 0 to 1.
  double Fraction() const;
  bool IsFinal() const;
};

/// Returns the stages in the order in which they run. `now_s` is the time in seconds since 1970, for stages that still
/// run.
std::vector<StageSummary> SummariseStages(const v1::Job& job, double now_s);

/// Returns the seconds since the job started (or was accepted), until now or its end.
double JobSeconds(const v1::Job& job, double now_s);

}  // namespace regroup
