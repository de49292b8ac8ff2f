#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "services/cli/commands.h"
#include "services/cli/json_text.h"
#include "services/cli/quantity_text.h"
#include "services/cli/report_text.h"
#include "services/cli/terminal.h"
#include "services/cli/text_table.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/resolve_job_spec.h"
#include "services/common/programs/ask_trainer.h"

namespace regroup {
namespace {

using Json = nlohmann::json;

constexpr size_t kLabel = 20;

struct PlanSettings {
  std::string file;
  double flops_per_second = 0;
  bool remote = false;
};

absl::StatusOr<v1::PlanJobResponse> AskCoordinator(const PlanSettings& settings, const CommandLine& line) {
  REGROUP_ASSIGN_OR_RETURN(const JobFile file, ReadCheckedJobFile(settings.file));
  v1::PlanJobRequest request;
  *request.mutable_spec() = file.spec;
  return line.Call(&Client::JobStub::PlanJob, request);
}

absl::StatusOr<Json> AskHere(const PlanSettings& settings) {
  REGROUP_ASSIGN_OR_RETURN(const JobFile file, ReadCheckedJobFile(settings.file));
  return AskForPlan(ResolveJobSpec(file.spec), settings.flops_per_second);
}

ExitCode PlanRemotely(const PlanSettings& settings, const CommandLine& line) {
  const auto plan = AskCoordinator(settings, line);
  if (!plan.ok()) return PrintError(plan.status(), line.json);
  const auto columns = static_cast<size_t>(std::max(20, StandardOutput().columns));
  Print(line.json ? JsonOf(*plan) : RemotePlanText(*plan, columns));
  return kExitDone;
}

ExitCode Plan(const PlanSettings& settings, const CommandLine& line) {
  if (settings.remote) return PlanRemotely(settings, line);
  const auto plan = AskHere(settings);
  if (!plan.ok()) return PrintError(plan.status(), line.json);
  const auto columns = static_cast<size_t>(std::max(20, StandardOutput().columns));
  Print(line.json ? plan->dump(2) + "\n" : PlanText(*plan, columns));
  return kExitDone;
}

double NumberAt(const Json& plan, const char* key) { return plan.at(key).get<double>(); }

std::string Row(const std::string& label, const std::string& value) {
  return fmt::format("  {}{}\n", PadRight(label, kLabel), value);
}

std::string ModelText(const std::string& family, int64_t layers, int64_t heads, int64_t kv_heads, int64_t head_width,
                      const std::string& dtype) {
  return fmt::format("{}, {} layers, {} heads, {} KV heads of {}, {}", family, layers, heads, kv_heads, head_width,
                     dtype);
}

std::string ModelText(const Json& model) {
  const auto number = [&](const char* key) { return model.at(key).get<int64_t>(); };
  return ModelText(model.at("family"), number("layers"), number("heads"), number("kv_heads"), number("head_width"),
                   model.at("dtype"));
}

std::string CacheText(double before, double after) {
  return fmt::format("{} become {}: {:.1f} % saved", BytesText(before), BytesText(after),
                     before > 0 ? 100 * (1 - after / before) : 0);
}

std::string MemoryText(const Json& plan) {
  std::string text;
  for (const auto& [stage, bytes] : plan.at("memory_bytes").items()) {
    text +=
        Row(text.empty() ? "memory of a rank" : "", fmt::format("{} for {}", BytesText(bytes.get<double>()), stage));
  }
  const double machine = NumberAt(plan, "machine_memory_bytes");
  const bool fits = plan.at("fits").get<bool>();
  return text + Row("", fmt::format("{} the {} of this machine", fits ? "fits into" : "DOES NOT FIT into",
                                    BytesText(machine)));
}

std::string TimeText(const Json& plan) {
  const char* const origin = plan.at("rate_is_measured").get<bool>() ? "measured here" : "as stated";
  return fmt::format("{} on {} rank(s), at {}FLOP/s each ({})", DurationText(NumberAt(plan, "seconds")),
                     plan.at("ranks").get<int64_t>(), ShortCountText(NumberAt(plan, "flops_per_second")), origin);
}

}  // namespace

std::string PlanText(const Json& plan, size_t columns) {
  const Json& cache = plan.at("kv_bytes_per_token");
  const double before = NumberAt(cache, "source"), after = NumberAt(cache, "result");
  const Json& tokens = plan.at("tokens");
  std::string text = Row("model", ModelText(plan.at("model")));
  text += Row("parameters", fmt::format("{} become {}", ShortCountText(NumberAt(plan.at("model"), "parameters")),
                                        ShortCountText(NumberAt(plan, "result_parameters"))));
  text += Row("KV cache per token", CacheText(before, after));
  text +=
      Row("tokens",
          fmt::format("{} to calibrate, {} to train, {} to evaluate", ShortCountText(NumberAt(tokens, "calibration")),
                      ShortCountText(NumberAt(tokens, "training")), ShortCountText(NumberAt(tokens, "evaluation"))));
  text += Row("operations", ShortCountText(NumberAt(plan, "flops")) + "FLOP");
  text += MemoryText(plan);
  text += Row("storage", BytesText(NumberAt(plan, "storage_bytes")));
  text += Row("time, at least", TimeText(plan));
  for (const char* notes : {"machine_notes", "notes"}) {
    for (const Json& note : plan.at(notes)) text += "\n" + WrapText("note: " + note.get<std::string>(), columns, "  ");
  }
  return text;
}

std::string RemotePlanText(const v1::PlanJobResponse& plan, size_t columns) {
  const v1::ModelSummary& model = plan.model();
  const auto before = static_cast<double>(plan.source_kv_bytes_per_token());
  const auto after = static_cast<double>(plan.result_kv_bytes_per_token());
  std::string text = Row("model", ModelText(model.family(), model.layers(), model.heads(), model.kv_heads(),
                                            model.head_width(), model.dtype()));
  text += Row("parameters", ShortCountText(static_cast<double>(model.parameters())));
  text += Row("KV cache per token", CacheText(before, after));
  text += Row("tokens to train", ShortCountText(static_cast<double>(plan.training_tokens())));
  text += Row("operations", ShortCountText(plan.flops()) + "FLOP");
  text += Row("memory of a rank", BytesText(static_cast<double>(plan.memory_bytes_per_rank())));
  text += Row("storage", BytesText(static_cast<double>(plan.storage_bytes())));
  for (const std::string& warning : plan.warnings()) text += "\n" + WrapText("note: " + warning, columns, "  ");
  return text;
}

void AddPlanCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("plan", "State what a job would need and save, without running it");
  const auto settings = std::make_shared<PlanSettings>();
  command->add_option("file", settings->file, "The job file")->required();
  command->add_option("--flops-per-second", settings->flops_per_second,
                      "Speed of a rank, for example 4e14; default: measured on this machine for a second");
  command->add_flag("--remote", settings->remote,
                    "Ask the coordinator, for checkpoints that only its machine sees; tells no time");
  command->footer("Needs no coordinator without --remote. Reads the source's configuration, not its weights.");
  command->callback(
      [&line, settings] { line.selected = [settings](const CommandLine& chosen) { return Plan(*settings, chosen); }; });
}

}  // namespace regroup
