#include "coordinator/job/assignment.h"

#include "services/common/base/task_roles.h"

namespace regroup {
namespace {

/// Returns the names under which `reader` finds the results of `ancestor`.
std::vector<std::string> RolesOf(const Job& job, const TaskNode& ancestor, const TaskNode& reader) {
  const bool is_sweep_report = reader.kind == v1::TASK_KIND_REPORT && job.proto().resolved_spec().has_sweep();
  if (!is_sweep_report || ancestor.arms.empty()) return {ancestor.role};
  std::vector<std::string> roles;
  for (const int arm : ancestor.arms) roles.push_back(ArmPrefix(arm) + ancestor.role);
  return roles;
}

void AddInputs(const Job& job, size_t task, v1::TaskAssignment* assignment) {
  const TaskNode& reader = job.graph().tasks[task];
  for (const size_t ancestor : job.graph().AncestorsOf(task)) {
    const std::string folder = job.ResultFolder(ancestor);
    const v1::Task& done = job.task(ancestor);
    for (const std::string& role : RolesOf(job, job.graph().tasks[ancestor], reader)) {
      (*assignment->mutable_inputs())[role] = folder;
      if (!done.outputs_sha256().empty()) (*assignment->mutable_input_sha256())[role] = done.outputs_sha256();
    }
    const std::string& id = job.graph().tasks[ancestor].id;
    (*assignment->mutable_task_seconds())[id] = Seconds(FromProto(done.end_time()) - FromProto(done.start_time()));
    if (!done.has_first_start_time()) continue;
    (*assignment->mutable_elapsed_seconds())[id] =
        Seconds(FromProto(done.end_time()) - FromProto(done.first_start_time()));
  }
}

}  // namespace

v1::TaskAssignment MakeAssignment(const Job& job, size_t task, Duration watchdog) {
  const TaskNode& node = job.graph().tasks[task];
  v1::TaskAssignment assignment;
  *assignment.mutable_attempt() = CurrentAttempt(job, task);
  assignment.set_kind(node.kind);
  assignment.set_ranks(job.task(task).ranks());
  *assignment.mutable_spec() = job.proto().resolved_spec();
  // The trainer plans its memory for the ranks that there are.
  if (node.kind == v1::TASK_KIND_FINETUNE) assignment.mutable_spec()->mutable_finetune()->set_ranks(assignment.ranks());
  if (job.proto().has_model()) *assignment.mutable_model() = job.proto().model();
  assignment.set_layer(node.layer);
  assignment.set_layers(node.layers);
  assignment.set_subject(node.subject);
  *assignment.mutable_arm() = job.graph().arms[static_cast<size_t>(job.task(task).arm())];
  assignment.mutable_arms()->Assign(job.graph().arms.begin(), job.graph().arms.end());
  assignment.set_traceparent(job.proto().traceparent());
  assignment.set_watchdog_s(static_cast<int>(Seconds(watchdog)));
  if (node.kind == v1::TASK_KIND_REPORT) *assignment.mutable_warnings() = job.proto().warnings();
  AddInputs(job, task, &assignment);
  return assignment;
}

v1::AttemptId CurrentAttempt(const Job& job, size_t task) {
  v1::AttemptId attempt;
  attempt.set_job(job.id());
  attempt.set_task(job.graph().tasks[task].id);
  attempt.set_epoch(job.task(task).epoch());
  return attempt;
}

}  // namespace regroup
