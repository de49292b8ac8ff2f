// evaluate: quality of one subject: the source, the source with plainly averaged heads, the aligned and merged model
// before training, or the result as it will be published.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/base/files.h"
#include "services/base/status_macros.h"
#include "trainer/eval/multiple_choice.h"
#include "trainer/eval/perplexity.h"
#include "trainer/stages/conversion.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/settings.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

absl::StatusOr<Model> LoadResult(const StageContext& context, const SourceModel& source) {
  for (const auto& [role, folder] : {std::pair{"export", "checkpoint"}, std::pair{"finetune", "model"}}) {
    if (!context.assignment.inputs().contains(role)) continue;
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path input, context.Input(role));
    REGROUP_ASSIGN_OR_RETURN(const SourceModel result, SourceModel::Open(input / folder));
    return result.Load(at::kFloat, context.device);
  }
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, Conversion::Load(context, source.config()));
  return LoadMerged(source, conversion, at::kFloat, context.device);
}

absl::StatusOr<Model> LoadSubject(const StageContext& context, const SourceModel& source) {
  const std::string& subject = context.assignment.subject();
  if (subject == "source") return source.Load(at::kFloat, context.device);
  if (subject == "result") return LoadResult(context, source);
  if (subject == "averaged") {
    REGROUP_ASSIGN_OR_RETURN(const Conversion averages,
                             Conversion::Average(source.config(), context.assignment.arm().kv_heads()));
    return LoadMerged(source, averages, at::kFloat, context.device);
  }
  if (subject == "aligned") {
    REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, Conversion::Load(context, source.config()));
    return LoadMerged(source, conversion, at::kFloat, context.device);
  }
  return absl::InternalError(fmt::format("evaluate: unknown subject '{}'", subject));
}

absl::StatusOr<Perplexity> Measure(StageContext& context, const SourceModel& source, const Model& model) {
  const v1::Evaluation::Perplexity& settings = context.spec().evaluation().perplexity();
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows windows,
                           BuildWindows("evaluation.perplexity.data", settings.data(), source,
                                        {.sequence_length = SequenceLength(settings, source.config()),
                                         .max_windows = settings.max_windows()}));
  return MeasurePerplexity(model, windows, context.device,
                           [&](int64_t done) { context.link.SetProgress("windows", done, windows.windows()); });
}

/// What a figure belongs to: the subject, or in a sweep the settings of the arm.
std::string FigureRow(const StageContext& context) {
  const std::string& subject = context.assignment.subject();
  if (!context.spec().has_sweep() || subject == "source") return subject;
  const v1::Arm& arm = context.assignment.arm();
  std::string row = fmt::format("{} heads, {}", arm.kv_heads(), arm.alignment());
  if (arm.refine()) row += " + refine";
  if (subject != "result") return fmt::format("{}, {}", row, subject);
  if (arm.finetune() != "none") row += " + " + arm.finetune();
  return row;
}

using Json = nlohmann::ordered_json;

absl::Status AddPerplexity(StageContext& context, const SourceModel& source, const Model& model, Json& measured,
                           v1::TaskOutcome& outcome) {
  REGROUP_ASSIGN_OR_RETURN(const Perplexity perplexity, Measure(context, source, model));
  measured["perplexity"] = perplexity.perplexity;
  measured["mean_loss"] = perplexity.mean_loss;
  measured["standard_error"] = perplexity.standard_error;
  measured["windows"] = perplexity.windows;
  measured["tokens"] = perplexity.tokens;
  (*outcome.mutable_figures())["perplexity/" + FigureRow(context)] = perplexity.perplexity;
  return absl::OkStatus();
}

/// The scores of every item, for paired comparisons: one file a set.
Json DescribeItems(const MultipleChoice& result) {
  Json items = Json::array();
  for (const ChoiceItem& item : result.items) {
    items.push_back({{"label", item.label},
                     {"log_likelihoods", item.log_likelihoods},
                     {"bytes", item.bytes},
                     {"best", item.Best(false)},
                     {"best_per_byte", item.Best(true)}});
  }
  return items;
}

absl::Status AddMultipleChoice(StageContext& context, const SourceModel& source, const Model& model, Json& measured,
                               v1::TaskOutcome& outcome) {
  REGROUP_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(source.folder().path()));
  for (const v1::Evaluation::MultipleChoice& set : context.spec().evaluation().multiple_choice()) {
    const auto progress = [&](int64_t done, int64_t total) {
      context.link.SetProgress(set.name() + " choices", done, total);
    };
    REGROUP_ASSIGN_OR_RETURN(const MultipleChoice result,
                             MeasureMultipleChoice(model, set.data(), *tokenizer, context.device, progress));
    measured["multiple_choice"].push_back({{"name", set.name()},
                                           {"items", result.items.size()},
                                           {"accuracy", result.Accuracy(false)},
                                           {"accuracy_standard_error", result.StandardError(false)},
                                           {"accuracy_per_byte", result.Accuracy(true)},
                                           {"accuracy_per_byte_standard_error", result.StandardError(true)}});
    (*outcome.mutable_figures())[fmt::format("{}/{}", set.name(), FigureRow(context))] = result.Accuracy(false);
    REGROUP_RETURN_IF_ERROR(WriteFileAtomically(context.out() / fmt::format("choices-{}.json", set.name()),
                                                DescribeItems(result).dump(1) + "\n"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunEvaluate(StageContext& context) {
  context.link.SetProgress("load", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(context.spec().source().checkpoint()));
  REGROUP_ASSIGN_OR_RETURN(const Model model, LoadSubject(context, source));
  const std::string& subject = context.assignment.subject();
  const auto element_bytes = static_cast<int64_t>(at::elementSize(source.dtype()));
  Json measured = {{"subject", subject},
                   {"kv_heads", model.config.KvHeadsOfAllLayers() / model.config.layers},
                   {"kv_bytes_per_token", model.config.KvCacheBytesPerToken(element_bytes)}};
  v1::TaskOutcome outcome;
  (*outcome.mutable_figures())["kv_bytes_per_token/" + FigureRow(context)] = measured["kv_bytes_per_token"];
  if (context.spec().evaluation().has_perplexity()) {
    REGROUP_RETURN_IF_ERROR(AddPerplexity(context, source, model, measured, outcome));
  }
  REGROUP_RETURN_IF_ERROR(AddMultipleChoice(context, source, model, measured, outcome));
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(context.out() / "evaluation.json", measured.dump(2) + "\n"));
  return outcome;
}

}  // namespace regroup
