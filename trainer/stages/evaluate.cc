// evaluate: measures the quality of one subject: the source, the source with plainly averaged heads, the aligned and
// merged model before training, that after layerwise distillation, or the result as it will be published. For the
// result the source is loaded too, because agreement and decoding speed compare the two in one run.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/evaluate_quality.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/latency.h"
#include "trainer/stages/load_conversion.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

absl::StatusOr<Model> LoadResult(const StageContext& context, const SourceModel& source) {
  for (const auto& [role, folder] :
       {std::pair{kExportRole, artifacts::kCheckpoint}, std::pair{kFinetuneRole, artifacts::kTrainedModel}}) {
    if (!context.assignment.inputs().contains(role)) continue;
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path input, context.Input(role));
    REGROUP_ASSIGN_OR_RETURN(const SourceModel result, SourceModel::Open(input / folder));
    return result.Load(at::kFloat, context.device);
  }
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
  return LoadMerged(source, conversion, at::kFloat, context.device);
}

absl::StatusOr<Model> LoadSubject(const StageContext& context, const SourceModel& source) {
  const std::string& subject = context.assignment.subject();
  if (subject == kSourceSubject) return source.Load(at::kFloat, context.device);
  if (subject == kResultSubject) return LoadResult(context, source);
  if (subject == kAveragedSubject) {
    REGROUP_ASSIGN_OR_RETURN(const Conversion averages,
                             Conversion::Average(source.config(), context.assignment.arm().kv_heads()));
    return LoadMerged(source, averages, at::kFloat, context.device);
  }
  if (subject == kAlignedSubject || subject == kLayerwiseSubject) {
    REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
    return LoadMerged(source, conversion, at::kFloat, context.device);
  }
  return absl::InternalError(fmt::format("evaluate: unknown subject '{}'", subject));
}

/// Returns the subject or, in a sweep, the settings of the arm; figures are labelled with it.
std::string FigureRow(const StageContext& context) {
  const std::string& subject = context.assignment.subject();
  if (!context.spec().has_sweep() || subject == kSourceSubject) return subject;
  const v1::Arm& arm = context.assignment.arm();
  std::string row = fmt::format("{} {}, {}", arm.kv_heads(), arm.kv_heads() == 1 ? "head" : "heads", arm.alignment());
  if (arm.layerwise() == "distill") row += " + layerwise";
  if (arm.refine()) row += " + refine";
  if (subject != kResultSubject) return fmt::format("{}, {}", row, subject);
  if (arm.finetune() != "none") row += " + " + arm.finetune();
  return row;
}

/// Returns the model as it would be served on a GPU; on a CPU in float32, which CPUs compute fastest.
Model ForDecoding(Model model, const SourceModel& source, at::Device device) {
  return device.is_cuda() ? CloneModel(model, source.dtype(), device) : model;
}

absl::Status AddLatency(StageContext& context, const SourceModel& source, Model original, Model result,
                        EvaluationRecord& record) {
  REGROUP_ASSIGN_OR_RETURN(const Conversion averages, Conversion::Average(source.config(), result.config.kv_heads));
  REGROUP_ASSIGN_OR_RETURN(Model averaged, LoadMerged(source, averages, at::kFloat, context.device));
  const auto prepare = [&](Model& model) { return ForDecoding(std::move(model), source, context.device); };
  record.measured["latency"] = MeasureLatency(context, prepare(original), prepare(result), prepare(averaged));
  return absl::OkStatus();
}

/// Measures what needs source and result in the same run.
absl::Status CompareWithSource(StageContext& context, const SourceModel& source, QualityMeasures& measures,
                               Model result, EvaluationRecord& record) {
  const v1::Evaluation& evaluation = context.spec().evaluation();
  if (!evaluation.has_perplexity() && !evaluation.has_latency()) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(Model original, source.Load(at::kFloat, context.device));
  if (evaluation.has_perplexity()) {
    REGROUP_RETURN_IF_ERROR(measures.AddAgreement(original, result, record));
  }
  if (!evaluation.has_latency()) return absl::OkStatus();
  // Only one rank measures while the others rest, because they would share its memory bandwidth.
  if (context.leads())
    REGROUP_RETURN_IF_ERROR(AddLatency(context, source, std::move(original), std::move(result), record));
  return context.communicator.RestingBarrier();
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunEvaluate(StageContext& context) {
  context.link.SetProgress("load", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context));
  REGROUP_ASSIGN_OR_RETURN(Model model, LoadSubject(context, source));
  const std::string& subject = context.assignment.subject();
  const int64_t kv_bytes = model.config.KvCacheBytesPerToken(static_cast<int64_t>(at::elementSize(source.dtype())));
  EvaluationRecord record{.figure_row = FigureRow(context)};
  record.measured = {{"subject", subject},
                     {"kv_heads", model.config.KvHeadsOfAllLayers() / model.config.layers},
                     {"kv_bytes_per_token", kv_bytes}};
  record.SetFigure("kv_bytes_per_token", static_cast<double>(kv_bytes));
  QualityMeasures measures(context, source);
  if (context.spec().evaluation().has_perplexity()) {
    REGROUP_RETURN_IF_ERROR(measures.AddPerplexity(model, record));
  }
  REGROUP_RETURN_IF_ERROR(measures.AddMultipleChoice(model, record));
  if (subject == kSourceSubject || subject == kResultSubject) {
    REGROUP_RETURN_IF_ERROR(measures.AddNeedle(model, record));
    REGROUP_RETURN_IF_ERROR(measures.AddAnswers(model, record));
  }
  if (subject == kResultSubject)
    REGROUP_RETURN_IF_ERROR(CompareWithSource(context, source, measures, std::move(model), record));
  if (context.leads()) {
    REGROUP_RETURN_IF_ERROR(
        WriteFileAtomically(context.out() / artifacts::kEvaluation, record.measured.dump(2) + "\n"));
  }
  return std::move(record.outcome);
}

}  // namespace regroup
