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

absl::StatusOr<v1::PlanJobResponse> Ask(const v1::JobSpec& resolved,
                                        const std::vector<std::filesystem::path>& data_roots) {
  REGROUP_ASSIGN_OR_RETURN(v1::JobPlan plan, AskForPlan(resolved, kAnyFlopsPerSecond, data_roots));
  return ResponseOf(std::move(plan));
}

}  // namespace

void JobPlanner::Plan(const v1::JobSpec& resolved, Done done) {
  if (++waiting_ > kMostWaiting) {
    --waiting_;
    return done(MakeError(absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
                          fmt::format("{} plans are waiting already; try again later", kMostWaiting)));
  }
  errands_.Run([this, resolved, done = std::move(done)] {
    done(Ask(resolved, data_roots_));
    --waiting_;
  });
}

}  // namespace regroup
