#include "services/cli/job_mirror.h"

#include <map>

namespace regroup {
namespace {

/// Replaces the changed tasks in place and appends new ones.
void MergeTasks(const google::protobuf::RepeatedPtrField<v1::Task>& changed, v1::Job& job) {
  std::map<std::string, v1::Task*> known;
  for (v1::Task& task : *job.mutable_tasks()) known[task.name()] = &task;
  std::vector<const v1::Task*> added;
  for (const v1::Task& task : changed) {
    const auto found = known.find(task.name());
    if (found == known.end()) {
      added.push_back(&task);
    } else {
      *found->second = task;
    }
  }
  for (const v1::Task* task : added) *job.add_tasks() = *task;
}

}  // namespace

void JobMirror::Apply(const v1::JobEvent& event) {
  if (!event.resume_token().empty()) resume_token_ = event.resume_token();
  if (expects_whole_job_ || event.gap()) {
    job_ = event.job();
    expects_whole_job_ = false;
    return;
  }
  if (event.job().revision() < job_.revision()) return;
  v1::Job next = event.job();
  next.mutable_tasks()->Swap(job_.mutable_tasks());
  MergeTasks(event.job().tasks(), next);
  job_ = std::move(next);
}

}  // namespace regroup
