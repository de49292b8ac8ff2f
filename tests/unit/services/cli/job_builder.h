// Jobs in the states that the command line shows.
#pragma once

#include <string>

#include "regroup/v1/job.pb.h"

namespace regroup {

inline v1::Task& AddTask(v1::Job& job, const std::string& id, v1::TaskKind kind, v1::TaskState state) {
  v1::Task& task = *job.add_tasks();
  task.set_name(job.name() + "/tasks/" + id);
  task.set_kind(kind);
  task.set_state(state);
  task.set_epoch(state == v1::TASK_STATE_BLOCKED ? 0 : 1);
  task.set_layer(-1);
  return task;
}

inline void SetTimes(v1::Task& task, int64_t start_s, int64_t end_s = 0) {
  task.mutable_start_time()->set_seconds(start_s);
  if (end_s > 0) task.mutable_end_time()->set_seconds(end_s);
}

/// A job at 1000 s that started at 900 s: inspected, half aligned, one task waiting.
inline v1::Job HalfAlignedJob() {
  v1::Job job;
  job.set_name("jobs/llama-gqa2-abc");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.mutable_create_time()->set_seconds(890);
  job.mutable_start_time()->set_seconds(900);
  SetTimes(AddTask(job, "inspect", v1::TASK_KIND_INSPECT, v1::TASK_STATE_SUCCEEDED), 900, 902);
  AddTask(job, "report", v1::TASK_KIND_REPORT, v1::TASK_STATE_BLOCKED);
  SetTimes(AddTask(job, "align-000", v1::TASK_KIND_ALIGN, v1::TASK_STATE_SUCCEEDED), 960, 980);
  SetTimes(AddTask(job, "align-001", v1::TASK_KIND_ALIGN, v1::TASK_STATE_RUNNING), 980);
  return job;
}

}  // namespace regroup
