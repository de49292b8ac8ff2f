// evaluate: measures the quality of one subject: the source, the source with plainly averaged heads, the aligned and
// merged model before training, that after layerwise distillation, or the result as it will be published. For the
// result the source is loaded too, because agreement and decoding speed compare the two.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <utility>

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

/// Returns the type in which models are measured: on a GPU that in which they are served; float32 on a CPU, which
/// computes it fastest.
at::ScalarType TypeOf(const StageContext& context, const SourceModel& source) {
  return context.device.is_cuda() ? source.dtype() : at::kFloat;
}

absl::StatusOr<Model> LoadResult(const StageContext& context, const SourceModel& source) {
  for (const auto& [role, folder] :
       {std::pair{kExportRole, artifacts::kCheckpoint}, std::pair{kFinetuneRole, artifacts::kTrainedModel}}) {
    if (!context.assignment.inputs().contains(role)) continue;
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path input, context.Input(role));
    REGROUP_ASSIGN_OR_RETURN(const SourceModel result, SourceModel::Open(input / folder));
    return result.Load(TypeOf(context, source), context.device);
  }
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
  return LoadMerged(source, conversion, TypeOf(context, source), context.device);
}

absl::StatusOr<Model> LoadAveraged(const StageContext& context, const SourceModel& source, int64_t kv_heads) {
  REGROUP_ASSIGN_OR_RETURN(const Conversion averages, Conversion::Average(source.config(), kv_heads));
  return LoadMerged(source, averages, TypeOf(context, source), context.device);
}

absl::StatusOr<Model> LoadSubject(const StageContext& context, const SourceModel& source) {
  const std::string& subject = context.assignment.subject();
  if (subject == kSourceSubject) return source.Load(TypeOf(context, source), context.device);
  if (subject == kResultSubject) return LoadResult(context, source);
  if (subject == kAveragedSubject) return LoadAveraged(context, source, context.assignment.arm().kv_heads());
  if (subject == kAlignedSubject || subject == kLayerwiseSubject) {
    REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
    return LoadMerged(source, conversion, TypeOf(context, source), context.device);
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

/// Compares how fast source and result decode. Only one rank measures while the others rest, because they would share
/// its memory bandwidth.
absl::Status AddLatency(StageContext& context, const SourceModel& source, Model result, EvaluationRecord& record) {
  if (!context.spec().evaluation().has_latency()) return absl::OkStatus();
  if (context.leads()) {
    const DecodedModels models{
        .source = [&] { return source.Load(TypeOf(context, source), context.device); },
        .result = [&]() -> absl::StatusOr<Model> { return std::exchange(result, {}); },
        .averaged = [&, kv_heads = result.config.kv_heads] { return LoadAveraged(context, source, kv_heads); },
        .result_config = result.config,
        .dtype = TypeOf(context, source)};
    REGROUP_ASSIGN_OR_RETURN(record.measured["latency"], MeasureLatency(context, models));
  }
  return context.communicator.RestingBarrier();
}

/// Has the measures keep what the source predicts, before the result is loaded: one model is in memory at a time.
absl::Status KeepSourcePredictions(StageContext& context, const SourceModel& source, QualityMeasures& measures) {
  if (context.assignment.subject() != kResultSubject || !context.spec().evaluation().has_perplexity()) {
    return absl::OkStatus();
  }
  REGROUP_ASSIGN_OR_RETURN(const Model original, source.Load(TypeOf(context, source), context.device));
  return measures.KeepReference(original);
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunEvaluate(StageContext& context) {
  context.link.SetProgress("load", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context));
  QualityMeasures measures(context, source);
  REGROUP_RETURN_IF_ERROR(KeepSourcePredictions(context, source, measures));
  REGROUP_ASSIGN_OR_RETURN(Model model, LoadSubject(context, source));
  const std::string& subject = context.assignment.subject();
  const int64_t kv_bytes = model.config.KvCacheBytesPerToken(static_cast<int64_t>(at::elementSize(source.dtype())));
  EvaluationRecord record{.figure_row = FigureRow(context)};
  record.measured = {{"subject", subject},
                     {"kv_heads", model.config.KvHeadsOfAllLayers() / model.config.layers},
                     {"kv_bytes_per_token", kv_bytes}};
  record.SetFigure("kv_bytes_per_token", static_cast<double>(kv_bytes));
  if (context.spec().evaluation().has_perplexity()) {
    REGROUP_RETURN_IF_ERROR(measures.AddPerplexity(model, record));
  }
  REGROUP_RETURN_IF_ERROR(measures.AddMultipleChoice(model, record));
  if (subject == kSourceSubject || subject == kResultSubject) {
    REGROUP_RETURN_IF_ERROR(measures.AddNeedle(model, record));
    REGROUP_RETURN_IF_ERROR(measures.AddAnswers(model, record));
  }
  if (subject == kResultSubject) {
    REGROUP_RETURN_IF_ERROR(measures.AddAgreement(model, record));
    REGROUP_RETURN_IF_ERROR(AddLatency(context, source, std::move(model), record));
  }
  if (context.leads()) {
    REGROUP_RETURN_IF_ERROR(
        WriteFileAtomically(context.out() / artifacts::kEvaluation, record.measured.dump(2) + "\n"));
  }
  return std::move(record.outcome);
}

}  // namespace regroup
