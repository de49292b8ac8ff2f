// calibrate: runs forward passes over calibration text, shared among the ranks, and writes one file of statistics per
// layer.
//
// The name of the statistics folder is derived from the inputs, so that jobs with the same source, text and settings
// compute it once. It appears by one rename; if another job has already published it, the result of this one is
// dropped.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "trainer/alignment/layer_statistics.h"
#include "trainer/data/token_windows.h"
#include "trainer/eval/window_batch.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/nn/window_runner.h"
#include "trainer/nn/windows_at_once.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/shared_folder.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

constexpr int kFormat = 2;

/// Returns true if any arm of the job compares unit-length heads.
bool NeedsUnitGrams(const v1::TaskAssignment& assignment) {
  for (const v1::Arm& arm : assignment.arms()) {
    if (NeedsUnitGrams(AlignmentOptionsOf(assignment.spec(), arm))) return true;
  }
  return assignment.arms_size() == 0;
}

/// Names the statistics by what they are computed from: the source, every tensor of which is compared with the digest
/// that is in the source's, and the tokens, which name text and tokenizer.
std::string StatisticsKey(const StageContext& context, const TokenWindows& windows, bool unit_grams) {
  const nlohmann::json key = {{"format", kFormat},
                              {"source", context.assignment.model().digest()},
                              {"text", windows.Digest()},
                              {"windows", windows.windows()},
                              {"sequence_length", windows.sequence_length()},
                              {"unit_grams", unit_grams}};
  return Sha256Of(key.dump());
}

std::vector<LayerStatistics> EmptyStatistics(const ModelConfig& config, bool unit_grams) {
  std::vector<LayerStatistics> statistics;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    statistics.emplace_back(AttentionShapeOf(config, layer), unit_grams);
  return statistics;
}

/// Accumulates this rank's share of the windows: every `size`-th one, starting with the rank's.
void AccumulateWindows(StageContext& context, const Model& model, const TokenWindows& windows,
                       std::vector<LayerStatistics>& statistics) {
  at::NoGradGuard no_gradients;
  const auto observe = [&](int64_t layer, const AttentionRows& rows) {
    statistics[layer].Accumulate(ActivationsOf(rows));
    context.link.activity().Tick();
  };
  const int64_t ranks = context.communicator.size();
  const int64_t at_once = WindowsAtOnce(windows.sequence_length());
  for (int64_t done = 0; done < windows.windows(); done += ranks * at_once) {
    const int64_t end = std::min(done + ranks * at_once, windows.windows());
    std::vector<int64_t> batch;
    for (int64_t window = done + context.communicator.rank(); window < end; window += ranks) batch.push_back(window);
    if (!batch.empty()) RunHiddenStates(model, WindowBatch(windows, batch, context.device), {.observer = observe});
    context.link.SetProgress("forward passes", end, windows.windows());
  }
}

absl::Status SumOverRanks(StageContext& context, std::vector<LayerStatistics>& statistics) {
  for (LayerStatistics& layer : statistics) {
    layer.MoveSumsTo(context.device);  // A rank without windows has not moved its sums yet.
    for (at::Tensor& sum : layer.Sums()) REGROUP_RETURN_IF_ERROR(context.communicator.AllReduceSum(sum));
  }
  return absl::OkStatus();
}

absl::Status Publish(const StageContext& context, const std::vector<LayerStatistics>& statistics,
                     const std::filesystem::path& published) {
  const std::filesystem::path staged = context.attempt_folder / "statistics";
  REGROUP_RETURN_IF_ERROR(MakeFolders(staged));
  for (size_t layer = 0; layer < statistics.size(); ++layer) {
    REGROUP_RETURN_IF_ERROR(
        SaveTensors(staged / artifacts::LayerStatistics(static_cast<int64_t>(layer)), statistics[layer].ToTensors()));
  }
  return PublishShared(staged, published);
}

absl::Status Compute(StageContext& context, const SourceModel& source, const TokenWindows& windows, bool unit_grams,
                     const std::filesystem::path& published) {
  REGROUP_ASSIGN_OR_RETURN(const Model model, source.Load(at::kFloat, context.device));
  std::vector<LayerStatistics> statistics = EmptyStatistics(source.config(), unit_grams);
  AccumulateWindows(context, model, windows, statistics);
  context.link.SetProgress("sum over ranks", 0, 0);
  REGROUP_RETURN_IF_ERROR(SumOverRanks(context, statistics));
  return context.leads() ? Publish(context, statistics, published) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunCalibrate(StageContext& context) {
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context, Users::kAllJobs));
  const int64_t sequence_length = SequenceLength(context.spec().calibration(), source.config());
  const bool unit_grams = NeedsUnitGrams(context.assignment);
  const v1::Calibration& calibration = context.spec().calibration();
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows windows,
                           ReadWindows(context, TextOf(calibration), source,
                                       {.sequence_length = sequence_length, .max_windows = calibration.sequences()}));
  const std::string fewer = NoteOnFewer(TextOf(calibration), "calibration.sequences", windows, calibration.sequences());
  if (2 * windows.windows() < calibration.sequences()) {
    return absl::InvalidArgumentError(
        fmt::format("{}, fewer than a half; give more text, or write sequences: {}", fewer, windows.windows()));
  }
  v1::TaskOutcome outcome;
  Warn(context, fewer, outcome);
  const std::string folder = "statistics/" + StatisticsKey(context, windows, unit_grams);
  const std::filesystem::path published = context.work_folder / folder;
  REGROUP_ASSIGN_OR_RETURN(const bool is_published, IsPublished(context, published));
  if (!is_published) {
    REGROUP_RETURN_IF_ERROR(Compute(context, source, windows, unit_grams, published));
  }
  if (context.leads()) {
    REGROUP_ASSIGN_OR_RETURN(const SharedFolder shared, DescribeShared(context, folder));
    const nlohmann::json pointer = {{"folder", shared.folder}, {"sha256", shared.sha256}};
    REGROUP_RETURN_IF_ERROR(WriteFileAtomically(context.out() / artifacts::kStatisticsPointer, pointer.dump(2) + "\n"));
  }
  return outcome;
}

}  // namespace regroup
