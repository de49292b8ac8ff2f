// align: computes one layer's groups and transforms from its statistics.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <future>
#include <optional>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/alignment/head_budget.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/shared_folder.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

/// A file of a folder that is shared by all jobs.
struct SharedFile {
  SharedFolder shared;
  std::string name;
};

/// Returns where the layer's statistics are; nothing for a job without calibration text.
absl::StatusOr<std::optional<SharedFile>> FindStatistics(const StageContext& context) {
  if (!context.assignment.inputs().contains(kCalibrateRole)) return std::nullopt;
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path calibrated, context.Input(kCalibrateRole));
  REGROUP_ASSIGN_OR_RETURN(const std::string pointer, ReadFile(calibrated / artifacts::kStatisticsPointer));
  const nlohmann::json named = nlohmann::json::parse(pointer);
  return SharedFile{.shared = {.folder = named.at("folder"), .sha256 = named.value("sha256", "")},
                    .name = artifacts::LayerStatistics(context.assignment.layer())};
}

absl::StatusOr<std::optional<LayerStatistics>> ReadStatistics(const StageContext& context,
                                                              const std::optional<SharedFile>& file,
                                                              const AttentionShape& shape) {
  if (!file) return std::nullopt;
  const std::filesystem::path path = context.work_folder / file->shared.folder / file->name;
  REGROUP_ASSIGN_OR_RETURN(const TensorMap tensors, LoadTensors(path));
  return LayerStatistics::FromTensors(shape, tensors);
}

/// Aligns by the statistics, or without them where the job has no calibration text.
absl::Status AlignAndSave(const StageContext& context, const AttentionShape& shape,
                          const std::optional<LayerStatistics>& statistics, const AttentionWeights& weights,
                          const AlignmentOptions& options, const std::string& file) {
  const auto alignment =
      statistics ? AlignLayer(*statistics, weights, options) : AlignWithoutStatistics(shape, weights, options);
  if (!alignment.ok()) {
    return absl::Status(alignment.status().code(), fmt::format("layer {}: {}", context.assignment.layer(),
                                                               std::string(alignment.status().message())));
  }
  return SaveTensors(context.out() / file, alignment->ToTensors());
}

absl::Status AlignFromFile(const StageContext& context, const std::optional<SharedFile>& file) {
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context));
  const int64_t layer = context.assignment.layer();
  const AttentionShape shape = AttentionShapeOf(source.config(), layer);
  REGROUP_ASSIGN_OR_RETURN(const std::optional<LayerStatistics> statistics, ReadStatistics(context, file, shape));
  REGROUP_ASSIGN_OR_RETURN(const Block block, source.MapAttention(layer));
  const AttentionWeights weights = AttentionWeightsOf(block, source.config());
  AlignmentOptions options = AlignmentOptionsOf(context.spec(), context.assignment.arm());
  if (!SpendsHeadsPerLayer(context.spec())) {
    return AlignAndSave(context, shape, statistics, weights, options, artifacts::kAlignment);
  }
  // The number of heads that this layer gets is known only when all layers are aligned, so every possible number is
  // prepared.
  for (const int64_t heads : DivisorsOf(shape.kv_heads)) {
    options.groups = heads;
    REGROUP_RETURN_IF_ERROR(
        AlignAndSave(context, shape, statistics, weights, options, artifacts::AlignmentWith(heads)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunAlign(StageContext& context) {
  context.link.SetProgress("align", 0, 1);
  REGROUP_ASSIGN_OR_RETURN(const std::optional<SharedFile> statistics, FindStatistics(context));
  // The statistics, 270 MB a layer at a width of 4,096, are hashed while they are used.
  std::future<absl::Status> intact;
  if (statistics) {
    intact =
        std::async(std::launch::async, [&] { return CheckShared(context, statistics->shared, {statistics->name}); });
  }
  const absl::Status aligned = AlignFromFile(context, statistics);
  // An error that comes of damaged statistics would mislead.
  if (statistics) REGROUP_RETURN_IF_ERROR(intact.get());
  REGROUP_RETURN_IF_ERROR(aligned);
  context.link.SetProgress("align", 1, 1);
  return v1::TaskOutcome();
}

}  // namespace regroup
