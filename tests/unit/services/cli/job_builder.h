// Jobs in the states that the command line shows.
#pragma once

#include <string>
#include <utility>

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

/// A job at 1000 s whose layers are trained in blocks of four: one block is done, one is at its second layer, and one
/// waits.
inline v1::Job HalfDistilledJob() {
  v1::Job job;
  job.set_name("jobs/llama-best-abc");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.mutable_create_time()->set_seconds(890);
  job.mutable_start_time()->set_seconds(900);
  SetTimes(AddTask(job, "inspect", v1::TASK_KIND_INSPECT, v1::TASK_STATE_SUCCEEDED), 900, 902);
  for (const char* id : {"align-000", "align-001"}) {
    SetTimes(AddTask(job, id, v1::TASK_KIND_ALIGN, v1::TASK_STATE_SUCCEEDED), 902, 920);
  }
  SetTimes(AddTask(job, "record", v1::TASK_KIND_RECORD, v1::TASK_STATE_SUCCEEDED), 902, 925);
  for (const auto& [id, layers] : {std::pair{"layerwise-000", 4}, {"layerwise-004", 4}, {"layerwise-008", 3}}) {
    AddTask(job, id, v1::TASK_KIND_LAYERWISE, v1::TASK_STATE_READY).set_layers(layers);
  }
  v1::Task& done = *job.mutable_tasks(4);
  done.set_state(v1::TASK_STATE_SUCCEEDED);
  SetTimes(done, 940, 980);
  v1::Task& running = *job.mutable_tasks(5);
  running.set_state(v1::TASK_STATE_RUNNING);
  SetTimes(running, 940);
  running.mutable_progress()->set_phase("step");
  running.mutable_progress()->set_done(720);
  running.mutable_progress()->set_total(1920);
  (*running.mutable_progress()->mutable_metrics())["layer_loss"] = 0.25;
  (*running.mutable_progress()->mutable_metrics())["layer"] = 5;
  (*running.mutable_progress()->mutable_metrics())["tokens_per_second"] = 4712;
  AddTask(job, "finetune", v1::TASK_KIND_FINETUNE, v1::TASK_STATE_BLOCKED);
  for (const char* subject : {"source", "averaged", "aligned", "layerwise", "result"}) {
    AddTask(job, std::string("evaluate-") + subject, v1::TASK_KIND_EVALUATE, v1::TASK_STATE_BLOCKED);
  }
  AddTask(job, "export", v1::TASK_KIND_EXPORT, v1::TASK_STATE_BLOCKED);
  AddTask(job, "report", v1::TASK_KIND_REPORT, v1::TASK_STATE_BLOCKED);
  return job;
}

}  // namespace regroup
