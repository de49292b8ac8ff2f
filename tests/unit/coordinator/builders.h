// Builders for the coordinator's tests: a job file, a model, a cluster with a clock, and a worker's requests.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/schedule/cluster.h"
#include "services/common/base/resource_names.h"
#include "services/common/job_file/resolve_job_spec.h"

namespace regroup {

/// Returns a conversion from 8 to 2 KV heads with everything enabled except refine; tests change what they are about.
inline v1::JobSpec SmallSpec() {
  v1::JobSpec spec;
  spec.set_name("small");
  spec.mutable_source()->set_checkpoint("/models/small");
  spec.mutable_target()->set_kv_heads(2);
  spec.mutable_calibration()->set_data("/data/train.jsonl");
  spec.mutable_finetune()->set_steps(100);
  spec.mutable_finetune()->set_checkpoint_every_steps(10);
  spec.mutable_evaluation()->mutable_perplexity()->set_data("/data/valid.jsonl");
  spec.mutable_output()->set_checkpoint("/models/small-gqa2");
  return spec;
}

inline v1::ModelSummary SmallModel(int layers = 2, int kv_heads = 8) {
  v1::ModelSummary model;
  model.set_family("llama");
  model.set_layers(layers);
  model.set_heads(8);
  model.set_kv_heads(kv_heads);
  return model;
}

inline v1::TaskOutcome Success() { return {}; }

inline v1::TaskOutcome InspectSuccess(const v1::ModelSummary& model = SmallModel()) {
  v1::TaskOutcome outcome;
  *outcome.mutable_model() = model;
  return outcome;
}

inline v1::TaskOutcome FailureOf(v1::FailureClass failure_class, const std::string& message = "it broke") {
  v1::TaskOutcome outcome;
  outcome.mutable_failure()->set_failure_class(failure_class);
  outcome.mutable_failure()->set_message(message);
  return outcome;
}

inline Job MakeJob(const std::string& id, const v1::JobSpec& spec = SmallSpec(), Time now = Time(Duration(1)),
                   const std::string& owner = "") {
  return Job::Create(id, spec, ResolveJobSpec(spec), now, owner);
}

inline std::map<std::string, v1::TaskState> StatesOf(const v1::Job& job) {
  std::map<std::string, v1::TaskState> states;
  for (const v1::Task& task : job.tasks()) states[LastSegment(task.name())] = task.state();
  return states;
}

/// A worker as the cluster sees it: it lists its assigned attempts until it reports their end.
struct FakeWorker {
  explicit FakeWorker(std::string name, int worker_slots = 1) : id(std::move(name)), slots(worker_slots) {}

  v1::RegisterWorkerRequest Registration() const {
    v1::RegisterWorkerRequest request;
    request.set_worker(id);
    request.set_incarnation(incarnation);
    request.set_slots(slots);
    request.set_device(device);
    request.set_gang_address(gang_address);
    request.mutable_running()->Assign(running.begin(), running.end());
    return request;
  }
  v1::HeartbeatRequest Heartbeat() const {
    v1::HeartbeatRequest request;
    request.set_worker(id);
    request.set_incarnation(incarnation);
    request.mutable_running()->Assign(running.begin(), running.end());
    return request;
  }
  v1::AcquireTaskRequest Acquire(int free_slots, Duration wait = std::chrono::seconds(30)) const {
    v1::AcquireTaskRequest request;
    request.set_worker(id);
    request.set_incarnation(incarnation);
    request.set_free_slots(free_slots);
    *request.mutable_wait() = ToProto(wait);
    return request;
  }
  v1::ReportTaskRequest Report(const v1::AttemptId& attempt, const v1::TaskOutcome& outcome) const {
    v1::ReportTaskRequest request;
    request.set_worker(id);
    request.set_incarnation(incarnation);
    *request.mutable_attempt() = attempt;
    *request.mutable_outcome() = outcome;
    return request;
  }
  v1::ReportTaskRequest AskToPublish(const v1::AttemptId& attempt) const {
    v1::ReportTaskRequest request;
    request.set_worker(id);
    request.set_incarnation(incarnation);
    *request.mutable_attempt() = attempt;
    request.set_asks_to_publish(true);
    return request;
  }

  std::string id;
  int slots;
  std::string device = "cpu";
  std::string gang_address;
  uint64_t incarnation = 1;
  std::vector<v1::AttemptId> running;
};

}  // namespace regroup
