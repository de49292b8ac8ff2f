#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "services/cli/commands.h"
#include "services/cli/json_text.h"
#include "services/cli/printable.h"
#include "services/cli/quantity_text.h"
#include "services/cli/report_text.h"
#include "services/cli/terminal.h"
#include "services/cli/text_table.h"
#include "services/common/base/number_text.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/resolve_job_spec.h"
#include "services/common/programs/ask_trainer.h"

namespace regroup {
namespace {

constexpr size_t kLabel = 20;

struct PlanSettings {
  std::string file;
  PlannedHardware hardware;
  bool remote = false;
};

absl::StatusOr<v1::PlanJobResponse> AskCoordinator(const PlanSettings& settings, const CommandLine& line) {
  REGROUP_ASSIGN_OR_RETURN(const JobFile file, ReadCheckedJobFile(settings.file));
  v1::PlanJobRequest request;
  *request.mutable_spec() = file.spec;
  return line.Call(&Client::JobStub::PlanJob, request);
}

absl::StatusOr<v1::JobPlan> AskHere(const PlanSettings& settings) {
  REGROUP_ASSIGN_OR_RETURN(const JobFile file, ReadCheckedJobFile(settings.file));
  return AskForPlan(ResolveJobSpec(file.spec), settings.hardware);
}

size_t Columns() { return static_cast<size_t>(std::max(20, StandardOutput().columns)); }

ExitCode PlanRemotely(const PlanSettings& settings, const CommandLine& line) {
  const auto response = AskCoordinator(settings, line);
  if (!response.ok()) return PrintError(response.status(), line.json);
  Print(line.json ? JsonOf(*response) : PlanText(Printable(PlanOf(*response)), Columns()));
  return kExitDone;
}

ExitCode Plan(const PlanSettings& settings, const CommandLine& line) {
  if (settings.remote) return PlanRemotely(settings, line);
  const auto plan = AskHere(settings);
  if (!plan.ok()) return PrintError(plan.status(), line.json);
  Print(line.json ? JsonOf(*plan, /*spread=*/true, /*complete=*/true) : PlanText(Printable(*plan), Columns()));
  return kExitDone;
}

std::string Row(const std::string& label, const std::string& value) {
  return fmt::format("  {}{}\n", PadRight(label, kLabel), value);
}

std::string ModelText(const v1::JobPlan::Model& model) {
  return fmt::format("{}, {} layers, {} heads, {} KV heads of {}, {}", model.family(), model.layers(), model.heads(),
                     model.kv_heads(), model.head_width(), model.dtype());
}

std::string CacheText(const v1::JobPlan::KvBytesPerToken& bytes) {
  return fmt::format("{} become {}: {:.1f} % saved", BytesText(bytes.source()), BytesText(bytes.result()),
                     bytes.source() > 0 ? 100 * (1 - bytes.result() / bytes.source()) : 0);
}

std::string SavedText(const v1::JobPlan::ServedModel& source, const v1::JobPlan::ServedModel& result) {
  if (!source.can_be_split()) return "the source's heads cannot be distributed";
  if (!result.can_be_split()) return "the result's KV heads cannot be distributed";
  const std::string text =
      fmt::format("{} become {}: ", BytesText(source.kv_bytes_per_token()), BytesText(result.kv_bytes_per_token()));
  const double saved = 1 - result.kv_bytes_per_token() / source.kv_bytes_per_token();
  return text + (saved > 0 ? fmt::format("{:.1f} % saved", 100 * saved) : "nothing saved");
}

std::string GpusText(int32_t gpus) { return fmt::format("{} GPU{}", gpus, gpus == 1 ? "" : "s"); }

std::string Grouped(double count) { return GroupedText(static_cast<int64_t>(count)); }

std::string CapacityText(const v1::JobPlan::Serving& row, double context) {
  const v1::JobPlan::ServedModel& source = row.source();
  const v1::JobPlan::ServedModel& result = row.result();
  std::string text = fmt::format("{} become {} requests of {} tokens at once", Grouped(source.requests()),
                                 Grouped(result.requests()), Grouped(context));
  if (source.longest_context() == result.longest_context()) return text;
  return text + fmt::format(",\n  {}the longest {} become {}", PadRight("", kLabel), Grouped(source.longest_context()),
                            Grouped(result.longest_context()));
}

std::string ServingText(const v1::JobPlan& plan) {
  std::string text;
  for (const v1::JobPlan::Serving& row : plan.serving()) {
    if (row.gpus() > 1) text += Row("  each of " + GpusText(row.gpus()), SavedText(row.source(), row.result()));
  }
  for (const v1::JobPlan::Serving& row : plan.serving()) {
    if (!row.source().has_requests() || !row.result().has_requests()) continue;
    text += Row("fit " + GpusText(row.gpus()), CapacityText(row, plan.serving_context_length()));
  }
  return text;
}

std::string TokensText(const v1::JobPlan::Tokens& tokens) {
  std::string text =
      Row("tokens", fmt::format("{} to calibrate, {} to train, {} to evaluate", ShortCountText(tokens.calibration()),
                                ShortCountText(tokens.training()), ShortCountText(tokens.evaluation())));
  if (tokens.layerwise() <= 0) return text;
  return text + Row("", fmt::format("{} to distill each layer", ShortCountText(tokens.layerwise())));
}

std::string StorageText(const v1::JobPlan& plan) {
  std::string text = BytesText(plan.storage_bytes());
  if (plan.stream_bytes() <= 0) return text;
  return fmt::format("{}, of which {} for the streams of layerwise", text, BytesText(plan.stream_bytes()));
}

std::string StagesText(const char* label, const v1::JobPlan::MemoryBytes& memory) {
  std::string text;
  const auto add = [&](const char* stage, double bytes) {
    text += Row(text.empty() ? label : "", fmt::format("{} for {}", BytesText(bytes), stage));
  };
  if (memory.has_calibrate()) add("calibrate", memory.calibrate());
  if (memory.has_evaluate()) add("evaluate", memory.evaluate());
  if (memory.has_layerwise()) add("layerwise", memory.layerwise());
  if (memory.has_finetune()) add("finetune", memory.finetune());
  return text;
}

std::string GpuMemoryText(const v1::JobPlan& plan) {
  if (!plan.has_gpu_memory_bytes_of_stages()) return "";
  std::string text = StagesText("memory of its GPU", plan.gpu_memory_bytes_of_stages());
  if (!plan.has_gpu_memory_bytes()) return text;
  return text + Row("", fmt::format("{} the {} of a GPU", plan.gpu_fits() ? "fits into" : "DOES NOT FIT into",
                                    BytesText(plan.gpu_memory_bytes())));
}

std::string MemoryText(const v1::JobPlan& plan) {
  std::string text = StagesText("memory of a rank", plan.memory_bytes());
  if (text.empty()) text = Row("memory of a rank", BytesText(plan.memory_bytes_per_rank()));
  if (!plan.has_machine_memory_bytes()) return text;
  return text + Row("", fmt::format("{} the {} of this machine", plan.fits() ? "fits into" : "DOES NOT FIT into",
                                    BytesText(plan.machine_memory_bytes())));
}

std::string TimeText(const v1::JobPlan& plan) {
  return fmt::format("{} on {} rank(s), at {}FLOP/s each ({})", DurationText(plan.seconds()), plan.ranks(),
                     ShortCountText(plan.flops_per_second()), plan.rate_is_measured() ? "measured here" : "as stated");
}

}  // namespace

v1::JobPlan PlanOf(const v1::PlanJobResponse& response) {
  if (response.has_plan()) return response.plan();
  v1::JobPlan plan;
  v1::JobPlan::Model& model = *plan.mutable_model();
  model.set_family(response.model().family());
  model.set_layers(response.model().layers());
  model.set_heads(response.model().heads());
  model.set_kv_heads(response.model().kv_heads());
  model.set_head_width(response.model().head_width());
  model.set_parameters(static_cast<double>(response.model().parameters()));
  model.set_dtype(response.model().dtype());
  plan.mutable_kv_bytes_per_token()->set_source(static_cast<double>(response.source_kv_bytes_per_token()));
  plan.mutable_kv_bytes_per_token()->set_result(static_cast<double>(response.result_kv_bytes_per_token()));
  plan.mutable_tokens()->set_training(static_cast<double>(response.training_tokens()));
  plan.set_flops(response.flops());
  plan.set_memory_bytes_per_rank(static_cast<double>(response.memory_bytes_per_rank()));
  plan.set_storage_bytes(static_cast<double>(response.storage_bytes()));
  *plan.mutable_notes() = response.warnings();
  return plan;
}

std::string PlanText(const v1::JobPlan& plan, size_t columns) {
  std::string text = Row("model", ModelText(plan.model()));
  text += Row("parameters", fmt::format("{} become {}", ShortCountText(plan.model().parameters()),
                                        ShortCountText(plan.result_parameters())));
  text += Row("KV cache per token", CacheText(plan.kv_bytes_per_token()));
  text += ServingText(plan);
  text += TokensText(plan.tokens());
  text += Row("operations", ShortCountText(plan.flops()) + "FLOP");
  text += MemoryText(plan) + GpuMemoryText(plan);
  text += Row("storage", StorageText(plan));
  if (plan.has_seconds()) text += Row("time, at least", TimeText(plan));
  for (const auto& notes : {plan.machine_notes(), plan.notes()}) {
    for (const std::string& note : notes) text += "\n" + WrapText("note: " + note, columns, "  ");
  }
  return text;
}

void AddPlanCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("plan", "Estimate what a job needs and saves, without running it");
  const auto settings = std::make_shared<PlanSettings>();
  command->add_option("file", settings->file, "The job file")->required();
  CLI::Option* const gpu_memory =
      command->add_option("--gpu-memory-gib", settings->hardware.gpu_memory_gib,
                          "Plan for GPUs of this memory, such as 80; default: this machine's, if the job may use them");
  command->add_option("--flops-per-second", settings->hardware.flops_per_second,
                      "Speed of a rank in FLOP/s, for example 4e14; default: measured on this machine for a second");
  command
      ->add_flag("--remote", settings->remote,
                 "Ask the coordinator, for checkpoints that only its machine sees; gives no time")
      ->excludes(gpu_memory);
  command->footer("Needs a coordinator only with --remote. Reads the source's configuration, not its weights.");
  command->callback(
      [&line, settings] { line.selected = [settings](const CommandLine& chosen) { return Plan(*settings, chosen); }; });
}

}  // namespace regroup
