// One table of the kinds of tasks: the word for each, and whether it computes on the job's device.
//
// Pure functions, for any thread.
#pragma once

#include <array>
#include <cstddef>

#include "regroup/v1/job.pb.h"

namespace regroup {

struct TaskKindRow {
  v1::TaskKind kind;
  /// Word for the kind in ids of tasks, in metrics and in reports.
  const char* word;
  /// True if a job with `resources.device: cuda` runs it on workers with a GPU only.
  bool needs_device;
};

/// All kinds in the order in which a job runs them.
inline constexpr std::array<TaskKindRow, 12> kTaskKinds = {{
    {v1::TASK_KIND_FETCH, "fetch", false},
    {v1::TASK_KIND_INSPECT, "inspect", false},
    {v1::TASK_KIND_CALIBRATE, "calibrate", true},
    {v1::TASK_KIND_ALIGN, "align", true},
    {v1::TASK_KIND_RECORD, "record", true},
    {v1::TASK_KIND_LAYERWISE, "layerwise", true},
    {v1::TASK_KIND_REFINE, "refine", true},
    {v1::TASK_KIND_FINETUNE, "finetune", true},
    {v1::TASK_KIND_EXPORT, "export", false},
    {v1::TASK_KIND_EVALUATE, "evaluate", true},
    {v1::TASK_KIND_REPORT, "report", false},
    {v1::TASK_KIND_UPLOAD, "upload", false},
}};
// In addition, the enumeration has only TASK_KIND_UNSPECIFIED.
static_assert(kTaskKinds.size() + 1 == v1::TaskKind_ARRAYSIZE, "a kind of task is missing in the table");

/// Returns the kind's position in the table; its size for a kind that this program does not know.
constexpr size_t OrderOf(v1::TaskKind kind) {
  size_t position = 0;
  while (position < kTaskKinds.size() && kTaskKinds[position].kind != kind) ++position;
  return position;
}

/// Returns the kind's word; "task" for a kind that this program does not know.
constexpr const char* WordOf(v1::TaskKind kind) {
  const size_t position = OrderOf(kind);
  return position < kTaskKinds.size() ? kTaskKinds[position].word : "task";
}

constexpr bool NeedsDevice(v1::TaskKind kind) {
  const size_t position = OrderOf(kind);
  return position == kTaskKinds.size() || kTaskKinds[position].needs_device;
}

}  // namespace regroup
