#include "coordinator/api/job_planner.h"

#include <fmt/format.h>

#include <utility>

#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"
#include "services/common/programs/ask_trainer.h"

namespace regroup {
namespace {

constexpr int kMostWaiting = 16;
/// Any speed will do, because the answer has no times; 0 would measure one.
constexpr double kAnyFlopsPerSecond = 1;

/// Clears the fields that describe the coordinator's machine: the job will run on others.
void ClearMachine(v1::JobPlan& plan) {
  plan.clear_machine_memory_bytes();
  plan.clear_fits();
  plan.clear_flops_per_second();
  plan.clear_rate_is_measured();
  plan.clear_threads();
  plan.clear_device_name();
  plan.clear_seconds();
  plan.clear_machine_notes();
}

v1::ModelSummary SummaryOf(const v1::JobPlan::Model& model) {
  v1::ModelSummary summary;
  summary.set_family(model.family());
  summary.set_layers(model.layers());
  summary.set_heads(model.heads());
  summary.set_kv_heads(model.kv_heads());
  summary.set_head_width(model.head_width());
  summary.set_parameters(static_cast<int64_t>(model.parameters()));
  summary.set_dtype(model.dtype());
  return summary;
}

v1::PlanJobResponse ResponseOf(v1::JobPlan plan) {
  ClearMachine(plan);
  v1::PlanJobResponse response;
  *response.mutable_model() = SummaryOf(plan.model());
  response.set_source_kv_bytes_per_token(static_cast<int64_t>(plan.kv_bytes_per_token().source()));
  response.set_result_kv_bytes_per_token(static_cast<int64_t>(plan.kv_bytes_per_token().result()));
  response.set_training_tokens(static_cast<int64_t>(plan.tokens().training()));
  response.set_flops(plan.flops());
  response.set_memory_bytes_per_rank(static_cast<int64_t>(plan.memory_bytes_per_rank()));
  response.set_storage_bytes(static_cast<int64_t>(plan.storage_bytes()));
  *response.mutable_warnings() = plan.notes();
  *response.mutable_plan() = std::move(plan);
  return response;
}

absl::Status LimitReached(const std::string& message) {
  return MakeError(absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED, message);
}

}  // namespace

absl::StatusOr<v1::PlanJobResponse> JobPlanner::Ask(const v1::JobSpec& resolved,
                                                    const std::function<bool()>& is_wanted) const {
  const RunLimits limits = {.time = limits_.time, .memory = limits_.memory, .is_wanted = [this, &is_wanted] {
                              return !is_stopping_ && is_wanted();
                            }};
  absl::StatusOr<v1::JobPlan> plan =
      limits.is_wanted()
          ? AskForPlan(resolved, {.flops_per_second = kAnyFlopsPerSecond, .is_elsewhere = true}, data_roots_, limits)
          : absl::CancelledError("the caller is gone");
  if (is_stopping_) return absl::UnavailableError("the coordinator is stopping");
  if (!plan.ok()) return plan.status();
  return ResponseOf(*std::move(plan));
}

absl::Status JobPlanner::Enter(const std::string& caller) {
  const std::lock_guard lock(mutex_);
  if (waiting_ >= kMostWaiting) {
    return LimitReached(fmt::format("{} plans are waiting already; try again later", kMostWaiting));
  }
  int& own = waiting_of_[caller];
  if (!caller.empty() && own >= limits_.per_caller) {
    return LimitReached(fmt::format("{} plans of \"{}\" are waiting already; try again later", own, caller));
  }
  ++own;
  ++waiting_;
  return absl::OkStatus();
}

void JobPlanner::Leave(const std::string& caller) {
  const std::lock_guard lock(mutex_);
  --waiting_;
  if (--waiting_of_[caller] == 0) waiting_of_.erase(caller);
}

void JobPlanner::Plan(const v1::JobSpec& resolved, const std::string& caller, std::function<bool()> is_wanted,
                      Done done) {
  const absl::Status entered = Enter(caller);
  if (!entered.ok()) return done(entered);
  errands_.Run([this, resolved, caller, is_wanted = std::move(is_wanted), done = std::move(done)] {
    const absl::StatusOr<v1::PlanJobResponse> plan = Ask(resolved, is_wanted);
    Leave(caller);
    done(plan);
  });
}

}  // namespace regroup
