#include "coordinator/api/job_planner.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"
#include "services/common/programs/ask_trainer.h"

namespace regroup {
namespace {

constexpr int kMostWaiting = 16;
/// The answer has no times, so that no speed need be measured.
constexpr double kAnyFlopsPerSecond = 1;

v1::PlanJobResponse ResponseOf(const nlohmann::json& plan) {
  v1::PlanJobResponse response;
  const nlohmann::json& model = plan.at("model");
  v1::ModelSummary& summary = *response.mutable_model();
  summary.set_family(model.at("family").get<std::string>());
  summary.set_layers(model.at("layers").get<int32_t>());
  summary.set_heads(model.at("heads").get<int32_t>());
  summary.set_kv_heads(model.at("kv_heads").get<int32_t>());
  summary.set_head_width(model.at("head_width").get<int32_t>());
  summary.set_parameters(model.at("parameters").get<int64_t>());
  summary.set_dtype(model.at("dtype").get<std::string>());
  response.set_source_kv_bytes_per_token(plan.at("kv_bytes_per_token").at("source").get<int64_t>());
  response.set_result_kv_bytes_per_token(plan.at("kv_bytes_per_token").at("result").get<int64_t>());
  const auto whole = [&](const char* key) { return static_cast<int64_t>(plan.at(key).get<double>()); };
  response.set_training_tokens(static_cast<int64_t>(plan.at("tokens").at("training").get<double>()));
  response.set_flops(plan.at("flops").get<double>());
  response.set_memory_bytes_per_rank(whole("memory_bytes_per_rank"));
  response.set_storage_bytes(whole("storage_bytes"));
  for (const auto& note : plan.at("notes")) response.add_warnings(note.get<std::string>());
  return response;
}

absl::StatusOr<v1::PlanJobResponse> Ask(const v1::JobSpec& resolved) {
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json plan, AskForPlan(resolved, kAnyFlopsPerSecond));
  try {
    return ResponseOf(plan);
  } catch (const nlohmann::json::exception& error) {
    return absl::InternalError(fmt::format("the trainer's plan: {}", error.what()));
  }
}

}  // namespace

void JobPlanner::Plan(const v1::JobSpec& resolved, Done done) {
  if (++waiting_ > kMostWaiting) {
    --waiting_;
    return done(MakeError(absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
                          fmt::format("{} plans are waiting already; try again later", kMostWaiting)));
  }
  errands_.Run([this, resolved, done = std::move(done)] {
    done(Ask(resolved));
    --waiting_;
  });
}

}  // namespace regroup
