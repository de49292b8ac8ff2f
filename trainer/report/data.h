// Builds report.json from the measurements of a job's tasks. Pure. The schema is report.schema.json.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/worker_service.pb.h"
#include "trainer/nn/model_config.h"
#include "trainer/nn/serving.h"
#include "trainer/report/comparison.h"

namespace regroup {

/// Errors of a layer before and after layerwise distillation: the share of the variance of the source's attention
/// output that the merged layer misses, on held-out sequences. 0 is a perfect copy, and 1 is as bad as the mean output.
struct LayerTraining {
  double error_before = 0, error_after = 0;
  /// True if training made the layer worse and its start was kept; both errors are equal then.
  bool kept_start = false;
};

/// Describes how a layer's heads were grouped and how much merging them loses; see trainer/alignment/layer_alignment.h.
struct LayerReport {
  /// Rows of a matrix over pairs of heads; empty if it was not measured.
  using Matrix = std::vector<std::vector<double>>;

  int64_t kv_heads = 0;
  std::vector<std::vector<int64_t>> groups;
  double similarity_before = 1, similarity_after = 1;
  double residual_key = 0, residual_value = 0;
  int64_t iterations = 0;
  Matrix value_similarity_before, value_similarity_after;
  Matrix key_similarity_before, key_similarity_after;
  /// Unset if the layer was not trained alone.
  std::optional<LayerTraining> training;
};

/// Measurements of one arm; a job without a sweep has one arm.
struct ArmReport {
  v1::Arm arm;
  /// By subject: "averaged", "aligned", "layerwise" and "result", if they were evaluated.
  std::map<std::string, Evaluation> evaluations;
  std::vector<LayerReport> layers;
  /// The records of each attempt of fine-tuning, the oldest first (see curves.h).
  std::vector<std::string> curves;
  /// Tasks whose results this arm uses; arms share some of them.
  std::vector<std::string> tasks;
};

struct ReportInputs {
  const v1::TaskAssignment& assignment;
  const ModelConfig& source_config;
  std::optional<Evaluation> source;
  std::vector<ArmReport> arms;
  /// "cpu" or "cuda", and the device's model name.
  std::string device, device_name;
  std::string regroup_version, libtorch_version;
  /// Capacity of a server for source and result, and the tokens of a request; no rows for a sweep and for an
  /// encoder-decoder.
  std::vector<ServingRow> serving;
  int64_t served_context = 0;
  /// NoteOnCache for the result with the fewest KV heads.
  std::string cache_note;
  /// For a job with addresses: what they led to, as `fetch` wrote it, and the addresses by the paths of their copies.
  nlohmann::ordered_json fetched;
  std::map<std::string, std::string> addresses;
};

/// Returns what the record of a trained layer says. DATA_LOSS names `file` if it is not the record of this layer, or if
/// an error is not a number of at least 0.
absl::StatusOr<LayerTraining> ParseLayerRecord(const nlohmann::ordered_json& record, int64_t layer,
                                               const std::string& file);

/// Returns the content of report.json: figures of source, averaged, aligned, layerwise and result, seconds of each
/// stage, layers; rows for a sweep. DATA_LOSS for scores that do not have the form that an evaluation writes.
absl::StatusOr<nlohmann::ordered_json> BuildReport(const ReportInputs& inputs);

/// Returns OUT_OF_RANGE if the job's gates do not allow the result to be published.
absl::Status CheckGates(const v1::Gates& gates, const nlohmann::ordered_json& report);

}  // namespace regroup
