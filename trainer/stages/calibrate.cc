// calibrate: runs forward passes over calibration text, shared among the ranks, and writes one file of statistics per
// layer. A rank holds one block of the model at a time.
//
// The name of the statistics folder is derived from the inputs, so that jobs with the same source, text and settings
// compute it once. It appears by one rename; if another job has already published it, the result of this one is
// dropped.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "trainer/alignment/layer_statistics.h"
#include "trainer/data/token_windows.h"
#include "trainer/eval/window_batch.h"
#include "trainer/layerwise/source_pass.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/tensor_file.h"
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

/// Returns this rank's share of the windows, every `size`-th one, in batches that pass through the model together.
std::vector<std::vector<int64_t>> OwnBatches(const StageContext& context, const TokenWindows& windows,
                                             int64_t stream_tokens) {
  const int64_t at_once = WindowsAtOnce(stream_tokens);
  std::vector<std::vector<int64_t>> batches;
  for (int64_t window = context.communicator.rank(); window < windows.windows();
       window += context.communicator.size()) {
    if (batches.empty() || static_cast<int64_t>(batches.back().size()) == at_once) batches.emplace_back();
    batches.back().push_back(window);
  }
  return batches;
}

/// Returns the number of batches whose residual streams, in float32, take as much memory as a block of the model:
/// streams and the block that they pass through are all that a rank holds, whatever the size of model and text.
int64_t BatchesInRound(const SourceModel& source, int64_t stream_tokens) {
  constexpr int64_t kLeastBytes = int64_t{16} << 20;
  const ModelConfig& config = source.config();
  const int64_t parameters = source.ParameterCount() / config.layers;
  const int64_t batch = WindowsAtOnce(stream_tokens) * stream_tokens * config.hidden_size;
  return std::max<int64_t>(1, std::max(kLeastBytes, 4 * parameters) / (4 * batch));
}

/// Accumulates this rank's share of the windows, layer by layer: the model is read once for each round of batches.
absl::Status AccumulateWindows(StageContext& context, const SourceModel& source, const TokenWindows& windows,
                               std::vector<LayerStatistics>& statistics) {
  const at::NoGradGuard no_gradients;
  REGROUP_ASSIGN_OR_RETURN(const SourcePass pass,
                           SourcePass::Make(source, {.sequence_length = windows.sequence_length(),
                                                     .device = context.device,
                                                     .observer = [&](int64_t layer, const AttentionRows& rows) {
                                                       statistics[layer].Accumulate(ActivationsOf(rows));
                                                       context.link.activity().Tick();
                                                     }}));
  const std::vector<std::vector<int64_t>> batches = OwnBatches(context, windows, pass.StreamTokens());
  const int64_t in_round = BatchesInRound(source, pass.StreamTokens());
  const auto all = static_cast<int64_t>(batches.size());
  const int64_t rounds = (all + in_round - 1) / in_round, layers = source.config().layers;
  for (int64_t round = 0; round < rounds; ++round) {
    std::vector<at::Tensor> streams;
    for (int64_t batch = round * in_round; batch < std::min(all, (round + 1) * in_round); ++batch) {
      streams.push_back(pass.runner().Start(WindowBatch(windows, batches[batch], context.device)));
    }
    for (int64_t layer = 0; layer < layers; ++layer) {
      REGROUP_ASSIGN_OR_RETURN(const Block block, pass.LoadBlock(layer));
      for (at::Tensor& stream : streams) stream = pass.runner().Advance(stream, block, layer);
      // A GPU need not have room for the sums of all layers.
      statistics[layer].MoveSumsTo(at::kCPU);
      context.link.SetProgress("layers", round * layers + layer + 1, rounds * layers);
    }
  }
  return absl::OkStatus();
}

absl::Status SumOverRanks(StageContext& context, std::vector<LayerStatistics>& statistics) {
  for (LayerStatistics& layer : statistics) {
    layer.MoveSumsTo(context.device);
    for (at::Tensor& sum : layer.Sums()) REGROUP_RETURN_IF_ERROR(context.communicator.AllReduceSum(sum));
    layer.MoveSumsTo(at::kCPU);
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
  std::vector<LayerStatistics> statistics = EmptyStatistics(source.config(), unit_grams);
  REGROUP_RETURN_IF_ERROR(AccumulateWindows(context, source, windows, statistics));
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
