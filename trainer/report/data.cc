#include "trainer/report/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "services/common/base/status_macros.h"
#include "services/common/base/task_kinds.h"
#include "services/common/base/task_roles.h"
#include "services/common/job_file/arms.h"
#include "services/common/job_file/job_file.h"
#include "trainer/report/curves.h"
#include "trainer/report/html.h"
#include "trainer/report/summary.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;
using Matrix = LayerReport::Matrix;

constexpr int kVersion = 1;

/// Returns KV heads and cache bytes, which are known without an evaluation.
Json Shape(const ReportInputs& inputs, int64_t kv_heads) {
  ModelConfig config = inputs.source_config;
  config.kv_heads = kv_heads;
  const int64_t element_bytes = inputs.assignment.model().dtype() == "float32" ? 4 : 2;
  return {{"kv_heads", kv_heads}, {"kv_bytes_per_token", config.KvCacheBytesPerToken(element_bytes)}};
}

/// Adds the figures of one evaluation to what is known without it.
Json DescribeSubject(Json shape, const Evaluation& evaluation) {
  Json figures = evaluation.figures;
  figures.erase("subject");
  shape.update(figures);
  return shape;
}

Json DescribeServed(const Serving& serving) {
  Json served = {{"can_be_split", serving.can_be_split}};
  if (!serving.can_be_split) return served;
  served["kv_heads_per_gpu"] = serving.kv_heads_per_gpu;
  served["kv_bytes_per_token"] = serving.kv_bytes_per_token;
  if (serving.capacity) {
    served["tokens"] = serving.capacity->tokens;
    served["requests"] = serving.capacity->requests;
    served["longest_context"] = serving.capacity->longest_context;
  }
  return served;
}

Json DescribeServing(const ReportInputs& inputs) {
  const v1::Serving& settings = inputs.assignment.spec().serving();
  Json serving = {{"context_length", inputs.served_context}};
  if (settings.has_gpu_memory_gib()) {
    serving["gpu_memory_gib"] = settings.gpu_memory_gib();
    serving["memory_share"] = settings.memory_share();
  }
  for (const ServingRow& row : inputs.serving) {
    serving["rows"].push_back(
        {{"gpus", row.gpus}, {"source", DescribeServed(row.source)}, {"result", DescribeServed(row.result)}});
  }
  return serving;
}

/// Returns "align" for "align-003", "evaluate" for "evaluate-source".
std::string StageOf(const std::string& task) { return task.substr(0, task.find('-')); }

/// Returns the seconds by stage of the tasks that one row of a sweep uses.
Json RowSeconds(const ReportInputs& inputs, const ArmReport& arm) {
  std::map<std::string, double> seconds;
  for (const std::string& task : arm.tasks) {
    const auto spent = inputs.assignment.task_seconds().find(task);
    if (spent != inputs.assignment.task_seconds().end()) seconds[StageOf(task)] += spent->second;
  }
  return seconds;
}

Json StageSeconds(const ReportInputs& inputs) {
  std::map<std::string, double> seconds;
  for (const auto& [task, spent] : inputs.assignment.task_seconds()) seconds[StageOf(task)] += spent;
  Json stages = Json::array();
  for (const TaskKindRow& kind : kTaskKinds) {
    if (seconds.contains(kind.word)) stages.push_back({{"name", kind.word}, {"seconds", seconds[kind.word]}});
  }
  return stages;
}

Json DescribeMatrix(const Matrix& matrix) {
  if (matrix.empty()) return nullptr;
  Json rows = Json::array();
  for (const std::vector<double>& row : matrix) {
    Json values = Json::array();
    for (const double value : row) values.push_back(std::round(value * 1e4) / 1e4);
    rows.push_back(std::move(values));
  }
  return rows;
}

/// Returns the mean over pairs of different heads; null if the method has no similarities, or a layer has one head.
Json MeanOfPairs(const Matrix& keys, const Matrix& values) {
  if (keys.size() < 2 || values.size() != keys.size()) return nullptr;
  double sum = 0;
  for (size_t row = 0; row < keys.size(); ++row) {
    for (size_t column = 0; column < keys.size(); ++column) {
      if (row != column) sum += 0.5 * (keys[row][column] + values[row][column]);
    }
  }
  return sum / static_cast<double>(keys.size() * (keys.size() - 1));
}

/// Returns "layer 3"; for an encoder-decoder "encoder 3", "decoder 3" (its self-attention) or "cross 3".
std::string LayerName(const ModelConfig& config, int64_t index) {
  const LayerPlace place = config.PlaceOfLayer(index);
  return fmt::format("{} {}", config.HasEncoder() ? place.stack : "layer", place.index);
}

Json DescribeLayer(const ModelConfig& config, int64_t index, const LayerReport& layer) {
  // A job without calibration text has no statistics to compute the figures from.
  const auto measured = [&layer](double figure) {
    return layer.value_similarity_before.empty() ? Json() : Json(figure);
  };
  Json described = {
      {"index", index},
      {"name", LayerName(config, index)},
      {"kv_heads", layer.kv_heads},
      {"groups", layer.groups},
      {"similarity_before", measured(layer.similarity_before)},
      {"similarity_after", measured(layer.similarity_after)},
      {"overall_similarity_before", MeanOfPairs(layer.key_similarity_before, layer.value_similarity_before)},
      {"overall_similarity_after", MeanOfPairs(layer.key_similarity_after, layer.value_similarity_after)},
      {"residual_key", measured(layer.residual_key)},
      {"residual_value", measured(layer.residual_value)},
      {"iterations", layer.iterations},
      {"value_similarity_before", DescribeMatrix(layer.value_similarity_before)},
      {"value_similarity_after", DescribeMatrix(layer.value_similarity_after)},
      {"key_similarity_before", DescribeMatrix(layer.key_similarity_before)},
      {"key_similarity_after", DescribeMatrix(layer.key_similarity_after)}};
  if (layer.training.has_value()) {
    described["error_before"] = layer.training->error_before;
    described["error_after"] = layer.training->error_after;
    described["kept_start"] = layer.training->kept_start;
  }
  return described;
}

Json DescribeLayers(const ModelConfig& config, const std::vector<LayerReport>& layers) {
  Json described = Json::array();
  for (size_t index = 0; index < layers.size(); ++index) {
    described.push_back(DescribeLayer(config, static_cast<int64_t>(index), layers[index]));
  }
  return described;
}

/// Returns how much of the time from the first start of fine-tuning to its end went into steps that count; null if that
/// is not known.
Json DescribeTraining(const ReportInputs& inputs, const ArmReport& measured) {
  const auto useful = LastPoint(measured.curves, "useful_seconds");
  const auto is_training = [](const std::string& task) { return StageOf(task) == "finetune"; };
  const auto task = std::find_if(measured.tasks.begin(), measured.tasks.end(), is_training);
  if (!useful.has_value() || task == measured.tasks.end()) return nullptr;
  const auto elapsed = inputs.assignment.elapsed_seconds().find(*task);
  if (elapsed == inputs.assignment.elapsed_seconds().end() || !(elapsed->second > 0)) return nullptr;
  const auto [steps, seconds] = *useful;
  Json training = {
      {"useful_seconds", seconds}, {"elapsed_seconds", elapsed->second}, {"goodput", seconds / elapsed->second}};
  const v1::Finetune& finetune = inputs.assignment.spec().finetune();
  if (finetune.stop_when_no_better() > 0 && steps < finetune.steps()) training["ended_early_after_step"] = steps;
  return training;
}

absl::StatusOr<Json> DescribeArm(const ReportInputs& inputs, const ArmReport& measured) {
  const v1::Arm& arm = measured.arm;
  const Json shape = Shape(inputs, arm.kv_heads());
  Json row = {{"alignment", arm.alignment()}, {"refine", arm.refine()}, {"finetune", arm.finetune()}};
  row.update(shape);
  for (const char* subject : {kAveragedSubject, kAlignedSubject, kLayerwiseSubject, kResultSubject}) {
    const auto evaluation = measured.evaluations.find(subject);
    if (evaluation == measured.evaluations.end()) continue;
    Json described = DescribeSubject(shape, evaluation->second);
    if (inputs.source.has_value()) {
      REGROUP_RETURN_IF_ERROR(AddComparison(*inputs.source, evaluation->second, described));
    }
    row[subject] = std::move(described);
  }
  if (!row.contains("result")) row["result"] = shape;
  row["layers"] = DescribeLayers(inputs.source_config, measured.layers);
  const std::optional<Json> curves = TrainingCurves(measured.curves);
  if (curves.has_value()) row["curves"] = *curves;
  const Json training = DescribeTraining(inputs, measured);
  if (!training.is_null()) row["training"] = training;
  return row;
}

Json Provenance(const ReportInputs& inputs) {
  const v1::ModelSummary& model = inputs.assignment.model();
  const v1::JobSpec& spec = inputs.assignment.spec();
  Json data = Json::object();
  for (const auto& [path, digest] : model.data_digests()) {
    const auto address = inputs.addresses.find(path);
    data[address == inputs.addresses.end() ? path : address->second] = digest;
  }
  Json provenance = {{"source", spec.source().checkpoint()},
                     {"source_digest", model.digest()},
                     {"data_digests", data},
                     {"family", model.family()},
                     {"parameters", model.parameters()},
                     {"layers", model.layers()},
                     {"dtype", model.dtype()},
                     {"job_file", FormatJobFile(spec)},
                     {"device", inputs.device},
                     {"device_name", inputs.device_name},
                     {"versions", {{"regroup", inputs.regroup_version}, {"libtorch", inputs.libtorch_version}}}};
  if (!inputs.fetched.empty()) provenance["fetched"] = inputs.fetched;
  return provenance;
}

/// Returns NaN if the perplexity was not measured or is not finite (which JSON cannot represent): no gate accepts that.
double MeasuredPerplexity(const Json& report, const char* subject) {
  const Json value = report.contains(subject) ? report[subject].value("perplexity", Json()) : Json();
  return value.is_number() ? value.get<double>() : std::nan("");
}

}  // namespace

absl::StatusOr<LayerTraining> ParseLayerRecord(const Json& record, int64_t layer, const std::string& file) {
  const auto damaged = [&](const char* what) { return absl::DataLossError(fmt::format("{}: {}", file, what)); };
  if (!record.is_object()) return damaged("the record of a layer is not an object");
  if (!record.contains("layer") || record["layer"] != layer) return damaged("the record is not that of its layer");
  const std::optional<double> before = NumberIn(record, "error_before"), after = NumberIn(record, "error_after");
  if (!before || !after || !(*before >= 0) || !(*after >= 0)) {
    return damaged("error_before and error_after must be numbers of at least 0");
  }
  if (!record.contains("kept_start") || !record["kept_start"].is_boolean()) {
    return damaged("kept_start must be true or false");
  }
  return LayerTraining{.error_before = *before, .error_after = *after, .kept_start = record["kept_start"].get<bool>()};
}

absl::StatusOr<Json> BuildReport(const ReportInputs& inputs) {
  const v1::TaskAssignment& assignment = inputs.assignment;
  Json report = {{"version", kVersion}, {"job", assignment.attempt().job()}, {"name", assignment.spec().name()}};
  report["source"] = Shape(inputs, inputs.source_config.kv_heads);
  if (inputs.source.has_value()) report["source"] = DescribeSubject(report["source"], *inputs.source);
  if (assignment.spec().has_sweep()) {
    for (const ArmReport& arm : inputs.arms) {
      REGROUP_ASSIGN_OR_RETURN(Json row, DescribeArm(inputs, arm));
      row["layerwise"] = DistillsLayers(arm.arm) ? arm.arm.layerwise() : "none";
      row["seconds"] = RowSeconds(inputs, arm);
      report["rows"].push_back(std::move(row));
    }
  } else {
    REGROUP_ASSIGN_OR_RETURN(Json only, DescribeArm(inputs, inputs.arms.front()));
    report["result"] = only["result"];
    for (const char* key : {kAveragedSubject, kAlignedSubject, kLayerwiseSubject, "alignment", "refine", "finetune",
                            "layers", "curves", "training"}) {
      if (only.contains(key)) report[key] = only[key];
    }
  }
  if (!inputs.serving.empty()) report["serving"] = DescribeServing(inputs);
  if (!inputs.cache_note.empty()) report["cache_note"] = inputs.cache_note;
  report["stages"] = StageSeconds(inputs);
  for (const std::string& warning : assignment.warnings()) report["warnings"].push_back(warning);
  report["provenance"] = Provenance(inputs);
  report["summary"] = SummariseReport(report);
  return report;
}

absl::Status CheckGates(const v1::Gates& gates, const Json& report) {
  if (!gates.has_max_perplexity_ratio() || !report.contains("result")) return absl::OkStatus();
  const double ratio = MeasuredPerplexity(report, "result") / MeasuredPerplexity(report, "source");
  if (ratio <= gates.max_perplexity_ratio()) return absl::OkStatus();
  return absl::OutOfRangeError(fmt::format(
      "gates.max_perplexity_ratio: the result's perplexity is {:.3f} times the source's; at most {} is allowed", ratio,
      gates.max_perplexity_ratio()));
}

}  // namespace regroup
