#include "trainer/report/data.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/job_file.h"
#include "trainer/parallel/device_name.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/plan/describe.h"
#include "trainer/report/comparison.h"
#include "trainer/report/curves.h"
#include "trainer/report/summary.h"
#include "trainer/plan/versions.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;

/// The evaluation of one subject, or nothing where the job has none.
absl::StatusOr<std::optional<Json>> ReadEvaluation(const StageContext& context, const std::string& role) {
  if (!context.assignment.inputs().contains(role)) return std::nullopt;
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, context.Input(role));
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(folder / "evaluation.json"));
  Json evaluation = Json::parse(text);
  evaluation.erase("subject");
  return evaluation;
}

/// KV heads and cache bytes, which are known without any evaluation.
Json Shape(const StageContext& context, ModelConfig config, int64_t kv_heads) {
  config.kv_heads = kv_heads;
  const int64_t element_bytes = context.assignment.model().dtype() == "float32" ? 4 : 2;
  return {{"kv_heads", kv_heads}, {"kv_bytes_per_token", config.KvCacheBytesPerToken(element_bytes)}};
}

absl::Status AddSubject(const StageContext& context, const std::string& subject, const std::string& prefix, Json shape,
                        Json& report) {
  const std::string role = prefix + "evaluate/" + subject;
  REGROUP_ASSIGN_OR_RETURN(const std::optional<Json> evaluation, ReadEvaluation(context, role));
  if (evaluation.has_value()) shape.update(*evaluation);
  if (evaluation.has_value() && subject != "source") {
    REGROUP_RETURN_IF_ERROR(AddComparison(context, "evaluate/source", role, shape));
  }
  const bool always = subject == "source" || subject == "result";
  if (evaluation.has_value() || always) report[subject] = std::move(shape);
  return absl::OkStatus();
}

/// "align" of "align-003", "evaluate" of "evaluate-source".
std::string StageOf(const std::string& task) { return task.substr(0, task.find('-')); }

/// Seconds by stage of what was done for one row of a sweep, whose roles begin with `prefix`.
Json RowSeconds(const StageContext& context, const std::string& prefix) {
  std::map<std::string, double> seconds;
  for (const auto& [role, folder] : context.assignment.inputs()) {
    if (!role.starts_with(prefix)) continue;
    // Results lie in jobs/<job>/<task>/<epoch>/out.
    const std::string task = std::filesystem::path(folder).parent_path().parent_path().filename().string();
    const auto spent = context.assignment.task_seconds().find(task);
    if (spent != context.assignment.task_seconds().end()) seconds[StageOf(task)] += spent->second;
  }
  return seconds;
}

Json StageSeconds(const StageContext& context) {
  static constexpr const char* kOrder[] = {"inspect", "calibrate", "align", "refine", "finetune", "export", "evaluate"};
  std::map<std::string, double> seconds;
  for (const auto& [task, spent] : context.assignment.task_seconds()) seconds[StageOf(task)] += spent;
  Json stages = Json::array();
  for (const char* name : kOrder) {
    if (seconds.contains(name)) stages.push_back({{"name", name}, {"seconds", seconds[name]}});
  }
  return stages;
}

Json Matrix(const at::Tensor& matrix) {
  if (!matrix.defined()) return nullptr;
  Json rows = Json::array();
  for (int64_t row = 0; row < matrix.size(0); ++row) {
    Json values = Json::array();
    for (int64_t column = 0; column < matrix.size(1); ++column) {
      values.push_back(std::round(matrix[row][column].item<double>() * 1e4) / 1e4);
    }
    rows.push_back(std::move(values));
  }
  return rows;
}

/// The mean over pairs of different heads; null where the method has no similarities, or a layer one head.
Json MeanOfPairs(const at::Tensor& keys, const at::Tensor& values) {
  if (!keys.defined() || !values.defined() || keys.size(0) < 2) return nullptr;
  const auto both = 0.5 * (keys + values);
  const double pairs = static_cast<double>(both.size(0) * (both.size(0) - 1));
  return (both.sum() - both.trace()).item<double>() / pairs;
}

/// "layer 3", or of an encoder-decoder "encoder 3", "decoder 3" (its self-attention) and "cross 3".
std::string LayerName(const ModelConfig& config, int64_t index) {
  const LayerPlace place = config.PlaceOfLayer(index);
  return fmt::format("{} {}", config.HasEncoder() ? place.stack : "layer", place.index);
}

Json DescribeLayer(const ModelConfig& config, int64_t index, const LayerAlignment& layer) {
  return {{"index", index},
          {"name", LayerName(config, index)},
          {"kv_heads", layer.GroupCount()},
          {"groups", layer.Groups()},
          {"similarity_before", layer.similarity_before},
          {"similarity_after", layer.similarity_after},
          {"overall_similarity_before", MeanOfPairs(layer.key_similarity_before, layer.value_similarity_before)},
          {"overall_similarity_after", MeanOfPairs(layer.key_similarity_after, layer.value_similarity_after)},
          {"residual_key", layer.residual_key},
          {"residual_value", layer.residual_value},
          {"iterations", layer.iterations},
          {"value_similarity_before", Matrix(layer.value_similarity_before)},
          {"value_similarity_after", Matrix(layer.value_similarity_after)},
          {"key_similarity_before", Matrix(layer.key_similarity_before)},
          {"key_similarity_after", Matrix(layer.key_similarity_after)}};
}

absl::StatusOr<Json> DescribeLayers(const StageContext& context, const ModelConfig& config, const v1::Arm& arm,
                                    const std::string& prefix) {
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, Conversion::Load(context, config, prefix, arm.kv_heads()));
  const std::vector<LayerAlignment>& alignments = conversion.alignments();
  Json layers = Json::array();
  for (size_t index = 0; index < alignments.size(); ++index) {
    layers.push_back(DescribeLayer(config, static_cast<int64_t>(index), alignments[index]));
  }
  return layers;
}

absl::StatusOr<Json> DescribeArm(const StageContext& context, const ModelConfig& config, const v1::Arm& arm,
                                 const std::string& prefix) {
  Json row = {{"alignment", arm.alignment()}, {"refine", arm.refine()}, {"finetune", arm.finetune()}};
  row.update(Shape(context, config, arm.kv_heads()));
  for (const char* subject : {"averaged", "aligned", "result"}) {
    REGROUP_RETURN_IF_ERROR(AddSubject(context, subject, prefix, Shape(context, config, arm.kv_heads()), row));
  }
  REGROUP_ASSIGN_OR_RETURN(row["layers"], DescribeLayers(context, config, arm, prefix));
  REGROUP_ASSIGN_OR_RETURN(const std::optional<Json> curves, ReadCurves(context, prefix + "finetune"));
  if (curves.has_value()) row["curves"] = *curves;
  return row;
}

Json Provenance(const StageContext& context) {
  const v1::ModelSummary& model = context.assignment.model();
  Json data = Json::object();
  for (const auto& [path, digest] : model.data_digests()) data[path] = digest;
  return {{"source", context.spec().source().checkpoint()},
          {"source_digest", model.digest()},
          {"data_digests", data},
          {"family", model.family()},
          {"parameters", model.parameters()},
          {"layers", model.layers()},
          {"dtype", model.dtype()},
          {"job_file", FormatJobFile(context.spec())},
          {"device", context.device.is_cuda() ? "cuda" : "cpu"},
          {"device_name", DeviceName(context.device)},
          {"versions", {{"regroup", RegroupVersion()}, {"libtorch", TorchVersion()}}}};
}

/// Not a number where it was not measured or is not finite (which JSON cannot say): no gate lets that pass.
double MeasuredPerplexity(const Json& report, const char* subject) {
  const Json value = report.contains(subject) ? report[subject].value("perplexity", Json()) : Json();
  return value.is_number() ? value.get<double>() : std::nan("");
}

}  // namespace

absl::StatusOr<Json> CollectReport(const StageContext& context, const ModelConfig& config) {
  Json report = {{"version", kVersion}, {"job", context.assignment.attempt().job()}, {"name", context.spec().name()}};
  REGROUP_RETURN_IF_ERROR(AddSubject(context, "source", "", Shape(context, config, config.kv_heads), report));
  if (context.spec().has_sweep()) {
    for (const v1::Arm& arm : context.assignment.arms()) {
      const std::string prefix = fmt::format("{}/", arm.index());
      REGROUP_ASSIGN_OR_RETURN(Json row, DescribeArm(context, config, arm, prefix));
      row["seconds"] = RowSeconds(context, prefix);
      report["rows"].push_back(std::move(row));
    }
  } else {
    REGROUP_ASSIGN_OR_RETURN(Json only, DescribeArm(context, config, context.assignment.arms(0), ""));
    report["result"] = only["result"];
    for (const char* key : {"averaged", "aligned", "alignment", "refine", "finetune", "layers", "curves"}) {
      if (only.contains(key)) report[key] = only[key];
    }
  }
  report["stages"] = StageSeconds(context);
  report["provenance"] = Provenance(context);
  report["summary"] = SummariseReport(report);
  return report;
}

absl::Status CheckGates(const v1::Gates& gates, const Json& report) {
  if (!gates.has_max_perplexity_ratio() || !report.contains("result")) return absl::OkStatus();
  const double ratio = MeasuredPerplexity(report, "result") / MeasuredPerplexity(report, "source");
  if (ratio <= gates.max_perplexity_ratio()) return absl::OkStatus();
  return absl::OutOfRangeError(
      fmt::format("gates.max_perplexity_ratio: the result's perplexity is {:.3f} times the source's; {} is allowed",
                  ratio, gates.max_perplexity_ratio()));
}

}  // namespace regroup
