#include "trainer/stages/report_inputs.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "services/common/base/attempt_files.h"
#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/task_roles.h"
#include "services/common/job_file/local_paths.h"
#include "trainer/parallel/device_name.h"
#include "trainer/plan/serving_rows.h"
#include "trainer/plan/versions.h"
#include "trainer/report/data.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/load_conversion.h"
#include "trainer/stages/recorded_curves.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

absl::StatusOr<Json> ReadJson(const fs::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxReportBytes));
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) return absl::DataLossError(fmt::format("{} is not JSON", file.string()));
  return value;
}

/// Returns null if the file does not exist.
absl::StatusOr<Json> ReadJsonIfThere(const fs::path& file) {
  if (!Exists(file)) return Json();
  return ReadJson(file);
}

absl::Status ReadChoices(const fs::path& folder, Evaluation& evaluation) {
  if (!evaluation.figures.contains("multiple_choice")) return absl::OkStatus();
  for (const Json& set : evaluation.figures["multiple_choice"]) {
    if (!set.is_object() || !set.contains("name") || !set["name"].is_string()) {
      return absl::DataLossError(fmt::format("{}: a set of multiple_choice has no name", folder.string()));
    }
    const std::string name = set["name"].get<std::string>();
    REGROUP_ASSIGN_OR_RETURN(evaluation.choices[name], ReadJsonIfThere(folder / artifacts::ChoiceScores(name)));
  }
  return absl::OkStatus();
}

/// Returns the evaluation with this role, or nullopt if the job has none.
absl::StatusOr<std::optional<Evaluation>> ReadEvaluation(const StageContext& context, const std::string& role) {
  if (!context.assignment.inputs().contains(role)) return std::nullopt;
  REGROUP_ASSIGN_OR_RETURN(const fs::path folder, context.Input(role));
  Evaluation evaluation{.folder = folder.string()};
  REGROUP_ASSIGN_OR_RETURN(evaluation.figures, ReadJson(folder / artifacts::kEvaluation));
  if (!evaluation.figures.is_object()) {
    return absl::DataLossError(fmt::format("{} is not an object", (folder / artifacts::kEvaluation).string()));
  }
  REGROUP_ASSIGN_OR_RETURN(evaluation.windows, ReadJsonIfThere(folder / artifacts::kWindowScores));
  REGROUP_RETURN_IF_ERROR(ReadChoices(folder, evaluation));
  return evaluation;
}

/// Returns what each attempt of fine-tuning recorded, the oldest first; empty if the arm has no training.
absl::StatusOr<std::vector<std::string>> ReadCurves(const StageContext& context, const std::string& role) {
  if (!context.assignment.inputs().contains(role)) return std::vector<std::string>();
  REGROUP_ASSIGN_OR_RETURN(const fs::path winner, context.Input(role));
  // The folder is <task>/<epoch>/out of the attempt that won.
  return ReadRecordedCurves(winner.parent_path());
}

LayerReport::Matrix Rows(const at::Tensor& matrix) {
  LayerReport::Matrix rows;
  if (!matrix.defined()) return rows;
  for (int64_t row = 0; row < matrix.size(0); ++row) {
    const at::Tensor values = matrix[row].to(at::kDouble).contiguous();
    rows.emplace_back(values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel());
  }
  return rows;
}

LayerReport DescribeLayer(const LayerAlignment& layer) {
  return {.kv_heads = layer.GroupCount(),
          .groups = layer.Groups(),
          .similarity_before = layer.similarity_before,
          .similarity_after = layer.similarity_after,
          .residual_key = layer.residual_key,
          .residual_value = layer.residual_value,
          .iterations = layer.iterations,
          .value_similarity_before = Rows(layer.value_similarity_before),
          .value_similarity_after = Rows(layer.value_similarity_after),
          .key_similarity_before = Rows(layer.key_similarity_before),
          .key_similarity_after = Rows(layer.key_similarity_after)};
}

/// Adds the errors of each layer that a layerwise task trained.
absl::Status AddTraining(const StageContext& context, const std::string& prefix, std::vector<LayerReport>& layers) {
  fs::path folder;
  for (int64_t layer = 0; layer < std::ssize(layers); ++layer) {
    const std::string role = prefix + LayerwiseRole(layer);
    if (context.assignment.inputs().contains(role)) {
      REGROUP_ASSIGN_OR_RETURN(folder, context.Input(role));
    }
    if (folder.empty()) return absl::OkStatus();
    const fs::path file = folder / artifacts::LayerRecord(layer);
    if (!Exists(file)) return absl::DataLossError(fmt::format("{} is missing", file.string()));
    REGROUP_ASSIGN_OR_RETURN(const Json record, ReadJson(file));
    REGROUP_ASSIGN_OR_RETURN(layers[layer].training, ParseLayerRecord(record, layer, file.string()));
  }
  return absl::OkStatus();
}

/// Returns the tasks whose results have roles that begin with `prefix`.
std::vector<std::string> TasksOf(const StageContext& context, const std::string& prefix) {
  std::vector<std::string> tasks;
  for (const auto& [role, folder] : context.assignment.inputs()) {
    // Results are in jobs/<job>/<task>/<epoch>/out.
    if (role.starts_with(prefix)) tasks.push_back(fs::path(folder).parent_path().parent_path().filename().string());
  }
  return tasks;
}

absl::StatusOr<ArmReport> ReadArm(const StageContext& context, const ModelConfig& config, const v1::Arm& arm,
                                  const std::string& prefix) {
  ArmReport report{.arm = arm};
  for (const char* subject : {kAveragedSubject, kAlignedSubject, kLayerwiseSubject, kResultSubject}) {
    REGROUP_ASSIGN_OR_RETURN(std::optional<Evaluation> evaluation,
                             ReadEvaluation(context, prefix + EvaluateRole(subject)));
    if (evaluation.has_value()) report.evaluations.emplace(subject, std::move(*evaluation));
  }
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, config, prefix, arm.kv_heads()));
  for (const LayerAlignment& layer : conversion.alignments()) report.layers.push_back(DescribeLayer(layer));
  REGROUP_RETURN_IF_ERROR(AddTraining(context, prefix, report.layers));
  REGROUP_ASSIGN_OR_RETURN(report.curves, ReadCurves(context, prefix + kFinetuneRole));
  report.tasks = TasksOf(context, prefix);
  return report;
}

/// Returns the shape of the result, from its layers.
ModelConfig ResultShape(const ModelConfig& source, const std::vector<LayerReport>& layers) {
  ModelConfig result = source;
  result.kv_heads_of_layers.clear();
  for (const LayerReport& layer : layers) result.kv_heads_of_layers.push_back(layer.kv_heads);
  result.kv_heads = *std::max_element(result.kv_heads_of_layers.begin(), result.kv_heads_of_layers.end());
  return result;
}

void AddServing(const StageContext& context, ReportInputs& inputs) {
  const v1::ModelSummary& model = context.assignment.model();
  const ServedSource source{.config = inputs.source_config,
                            .parameters = model.parameters(),
                            .element_bytes = model.dtype() == "float32" ? 4 : 2};
  inputs.serving = ServingRows(context.spec(), source, ResultShape(inputs.source_config, inputs.arms.front().layers));
  inputs.served_context = ServedContext(context.spec(), inputs.source_config);
}

/// Returns NoteOnCache for the result with the fewest KV heads.
std::string CacheNote(const ReportInputs& inputs) {
  ModelConfig smallest = inputs.source_config;
  for (const ArmReport& arm : inputs.arms) {
    ModelConfig result = ResultShape(inputs.source_config, arm.layers);
    if (result.KvHeadsOfAllLayers() < smallest.KvHeadsOfAllLayers()) smallest = std::move(result);
  }
  return NoteOnCache(inputs.source_config, smallest, inputs.assignment.model().dtype() == "float32" ? 4 : 2);
}

absl::Status AddFetched(const StageContext& context, ReportInputs& inputs) {
  const auto role = context.assignment.inputs().find(kFetchRole);
  if (role == context.assignment.inputs().end()) return absl::OkStatus();
  // The list alone: what it lists was compared when it was read.
  const std::filesystem::path file = context.work_folder / role->second / attempt_files::kFetched;
  REGROUP_ASSIGN_OR_RETURN(inputs.fetched, ReadJson(file));
  inputs.addresses = AddressesByPath(context.assignment.spec(), context.spec());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Json> CollectReport(const StageContext& context, const ModelConfig& config) {
  ReportInputs inputs{.assignment = context.assignment,
                      .source_config = config,
                      .device = context.device.is_cuda() ? "cuda" : "cpu",
                      .device_name = DeviceName(context.device),
                      .regroup_version = RegroupVersion(),
                      .libtorch_version = TorchVersion()};
  REGROUP_ASSIGN_OR_RETURN(inputs.source, ReadEvaluation(context, EvaluateRole(kSourceSubject)));
  for (const v1::Arm& arm : context.assignment.arms()) {
    const std::string prefix = context.spec().has_sweep() ? ArmPrefix(arm.index()) : "";
    REGROUP_ASSIGN_OR_RETURN(inputs.arms.emplace_back(), ReadArm(context, config, arm, prefix));
  }
  if (!context.spec().has_sweep()) AddServing(context, inputs);
  inputs.cache_note = CacheNote(inputs);
  REGROUP_RETURN_IF_ERROR(AddFetched(context, inputs));
  return BuildReport(inputs);
}

}  // namespace regroup
