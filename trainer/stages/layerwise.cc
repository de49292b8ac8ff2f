// layerwise: trains the merged attention layers of one block, each alone, on the source's own inputs.
//
// The task reads the recorded streams before its first layer and carries them through the source's own layers. It can
// be killed at any time: layers that an earlier attempt finished are taken over, and the layer in training continues
// from its last checkpoint, with the same bits.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/attempt_files.h"
#include "services/common/base/copy_file.h"
#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/stopwatch.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/layerwise/layer_distiller.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/nn/parameter_names.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/job_streams.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/load_conversion.h"
#include "trainer/stages/stage.h"
#include "trainer/stages/training_event_files.h"
#include "trainer/training/training_checkpoint.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

/// Shortest time between two reports of a step's figures: steps of small models take milliseconds.
constexpr double kReportEvery = 0.25;
constexpr double kCheckpointEvery = 20;
/// Share of the rate at which a layer is trained again if its error rose.
constexpr double kSmallerRate = 0.125;

class BlockOfLayers {
 public:
  BlockOfLayers(StageContext& context, const SourceModel& source, const Conversion& conversion, SourcePass pass)
      : context_(context),
        source_(source),
        conversion_(conversion),
        pass_(std::move(pass)),
        first_(context.assignment.layer()),
        end_(first_ + context.assignment.layers()) {}

  absl::Status Run() {
    REGROUP_ASSIGN_OR_RETURN(streams_, OpenFirst());
    for (int64_t layer = first_; layer < end_; ++layer) {
      REGROUP_ASSIGN_OR_RETURN(const Block block, pass_.LoadBlock(layer));
      REGROUP_ASSIGN_OR_RETURN(std::optional<ResidualStreams> next, MakeNext(layer));
      ResidualStreams* const after = next.has_value() ? &*next : nullptr;
      REGROUP_ASSIGN_OR_RETURN(const bool taken_over, TakeOver(layer));
      if (!taken_over) {
        REGROUP_RETURN_IF_ERROR(Train(layer, block, after));
      } else if (after != nullptr) {
        REGROUP_RETURN_IF_ERROR(pass_.Advance(block, layer, *streams_, after));
      }
      if (next.has_value()) streams_ = std::move(next);
    }
    RemoveWork();
    return absl::OkStatus();
  }

 private:
  const v1::Layerwise& layerwise() const { return context_.spec().layerwise(); }

  StreamShape Shape(int64_t windows, int64_t tokens) const {
    return {.windows = windows, .tokens = tokens, .hidden_size = source_.config().hidden_size};
  }

  /// Opens the recorded streams before the first layer, or computes them again if they were removed or damaged.
  absl::StatusOr<ResidualStreams> OpenFirst() {
    REGROUP_ASSIGN_OR_RETURN(const RecordedStreams recorded, ReadStreamsPointer(context_));
    const StreamShape shape = Shape(recorded.windows, pass_.StreamTokens());
    std::vector<std::string> names;
    for (int64_t rank = 0; rank < recorded.ranks; ++rank) names.push_back(StreamFile(first_, rank, recorded.ranks));
    const auto open = [&](const fs::path& folder) {
      std::vector<fs::path> files;
      for (const std::string& name : names) files.push_back(folder / name);
      return ResidualStreams::Open(files, shape);
    };
    const absl::Status intact = CheckShared(context_, recorded.shared, names);
    if (intact.ok()) return open(context_.work_folder / recorded.shared.folder);
    if (!absl::IsNotFound(intact) && !absl::IsDataLoss(intact)) return intact;
    LogWarning(fmt::format("computing the recorded streams again: {}", std::string(intact.message())));
    const fs::path folder = context_.attempt_folder / "streams";
    REGROUP_RETURN_IF_ERROR(RecordAgain(recorded, folder));
    return open(folder);
  }

  /// Writes the streams before the first layer rank by rank, because the number of windows in a product may change its
  /// bits.
  absl::Status RecordAgain(const RecordedStreams& recorded, const fs::path& folder) {
    REGROUP_ASSIGN_OR_RETURN(const TokenWindows text, ReadLayerwiseText(context_, source_));
    REGROUP_ASSIGN_OR_RETURN(const SourcePass pass, MakeSourcePass(context_, source_, /*with_embeddings=*/true));
    REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
    for (int64_t rank = 0; rank < recorded.ranks; ++rank) {
      const std::vector<int64_t> own = WindowsOfRank(text.windows(), rank, recorded.ranks);
      REGROUP_RETURN_IF_ERROR(
          RecordStreams(context_, pass, text, own, {0, first_}, first_, folder, rank, recorded.ranks));
    }
    return absl::OkStatus();
  }

  /// Returns the file for the streams behind a layer, or nothing if no layer of this block follows.
  absl::StatusOr<std::optional<ResidualStreams>> MakeNext(int64_t layer) {
    if (layer + 1 == end_) return std::nullopt;
    // The streams before the layer are in the other one of two files.
    const fs::path file = context_.attempt_folder / fmt::format("stream-{}", layer % 2);
    REGROUP_ASSIGN_OR_RETURN(ResidualStreams made, ResidualStreams::Create(file, streams_->shape()));
    return std::optional(std::move(made));
  }

  fs::path OutOf(int64_t epoch) const {
    return context_.attempt_folder.parent_path() / std::to_string(epoch) / attempt_files::kResults;
  }

  /// Copies the layer's results from an earlier attempt that finished it.
  absl::StatusOr<bool> TakeOver(int64_t layer) {
    for (int64_t epoch = context_.assignment.attempt().epoch() - 1; epoch >= 1; --epoch) {
      const fs::path weights = OutOf(epoch) / artifacts::TrainedAttention(layer);
      const fs::path record = OutOf(epoch) / artifacts::LayerRecord(layer);
      const auto text = ReadFile(record);
      if (!text.ok()) continue;
      const nlohmann::json figures = nlohmann::json::parse(*text, nullptr, false);
      const auto digest = FileDigest(weights);
      if (!figures.is_object() || !digest.ok() || figures.value("sha256", nlohmann::json()) != *digest) continue;
      REGROUP_RETURN_IF_ERROR(CopyFile(weights, context_.out() / artifacts::TrainedAttention(layer)));
      REGROUP_RETURN_IF_ERROR(WriteFileAtomically(context_.out() / artifacts::LayerRecord(layer), *text));
      LogInfo("taken over from an earlier attempt", {{"layer", layer}, {"epoch", epoch}});
      return true;
    }
    return false;
  }

  fs::path Checkpoints(int64_t epoch, int64_t layer, bool again) const {
    return context_.attempt_folder.parent_path() / std::to_string(epoch) / attempt_files::kTrainingCheckpoints /
           fmt::format("layer-{:03}{}", layer, again ? "-again" : "");
  }

  /// Returns the settings of the first training of a layer, or of the one that is tried after it.
  LayerSettings Settings(int64_t layer, bool again) const {
    return {.passes = layerwise().passes(),
            .batch_sequences = layerwise().batch_sequences(),
            .learning_rate = LayerwiseRate(layerwise(), source_.config()) * (again ? kSmallerRate : 1),
            .map_weight = layerwise().map_weight(),
            .seed = static_cast<uint64_t>(layerwise().seed()),
            .checkpoints = Checkpoints(context_.assignment.attempt().epoch(), layer, again),
            .checkpoint_every_s = kCheckpointEvery};
  }

  absl::Status Resume(int64_t layer, bool again, LayerDistiller& distiller) const {
    std::vector<fs::path> folders;
    for (int64_t epoch = 1; epoch <= context_.assignment.attempt().epoch(); ++epoch) {
      folders.push_back(Checkpoints(epoch, layer, again));
    }
    const std::unique_ptr<Communicator> alone = MakeSelfCommunicator();
    REGROUP_ASSIGN_OR_RETURN(const std::optional<TrainingCheckpoint> found, FindTrainingCheckpoint(folders, *alone));
    if (!found.has_value()) return absl::OkStatus();
    LogInfo("resumed", {{"layer", layer}, {"step", found->step}, {"checkpoint", found->folder.string()}});
    context_.link.ContinueAfter(found->step);
    return distiller.Resume(*found);
  }

  void Publish(int64_t layer, const LayerDistiller::StepFigures& figures) {
    context_.link.activity().SetStep(figures.step);
    context_.link.SetProgress("steps", (layer - first_) * figures.steps + figures.step,
                              (end_ - first_) * figures.steps);
    if (since_report_.Seconds() < kReportEvery && figures.step != figures.steps) return;
    since_report_ = Stopwatch();
    context_.link.AddMetrics(figures.step,
                             {{"layer", static_cast<double>(layer)},
                              {"layer_loss", figures.loss},
                              {"gradient_norm", figures.gradient_norm},
                              {"learning_rate", figures.learning_rate},
                              {"step_seconds", figures.seconds},
                              {"tokens_per_second", static_cast<double>(figures.tokens) / figures.seconds}});
  }

  /// Returns the merged attention, in float32.
  absl::StatusOr<Block> MergedBlock(int64_t layer) const {
    REGROUP_ASSIGN_OR_RETURN(Block merged, source_.MapAttention(layer));
    REGROUP_RETURN_IF_ERROR(conversion_.Merge(merged, layer));
    ConvertBlock(merged, at::kFloat, pass_.device());
    return merged;
  }

  /// Returns the layer to train, in the precision of the pass; all but the attention is the source's.
  Block StudentOf(Block merged, Block source) const {
    ConvertBlock(merged, pass_.dtype(), pass_.device());
    source.attention = merged.attention;
    return source;
  }

  absl::Status Train(int64_t layer, const Block& block, ResidualStreams* after) {
    context_.link.activity().SetPhase(fmt::format("targets of layer {}", layer));
    const Stopwatch watch;
    const fs::path targets_file = context_.attempt_folder / "targets";
    REGROUP_ASSIGN_OR_RETURN(
        ResidualStreams targets,
        ResidualStreams::Create(targets_file, Shape(streams_->shape().windows, pass_.BranchTokens(layer))));
    SourcePass::Branches branches{.streams = &targets};
    REGROUP_RETURN_IF_ERROR(pass_.Advance(block, layer, *streams_, after, &branches));
    REGROUP_ASSIGN_OR_RETURN(const Block merged, MergedBlock(layer));
    const double variance = branches.moments.Variance();
    if (!std::isfinite(variance)) {
      return absl::InvalidArgumentError(
          fmt::format("source.checkpoint: the attention output of layer {} is not finite on layerwise.data", layer));
    }
    // A layer without any output is merged without error.
    if (variance == 0) {
      return Finish(layer, merged,
                    {.learning_rate = LayerwiseRate(layerwise(), source_.config()), .seconds = watch.Seconds()});
    }
    const LayerLesson lesson{
        .layer = layer,
        .pass = &pass_,
        .source = &block,
        .head_order = QueryHeadOrder(conversion_.alignments()[layer], AttentionShapeOf(source_.config(), layer)),
        .inputs = &*streams_,
        .targets = &targets,
        .variance = variance};
    return Distill(lesson, merged, watch);
  }

  struct Result {
    double error_before = 0;
    double error_after = 0;
    bool kept_start = false;
    int64_t steps = 0;
    double learning_rate = 0;
    double seconds = 0;
  };

  /// Trains at the job's rate, and again from the start at a smaller one if that raised the error: the best rate
  /// differs by layer, and a layer that begins near the source needs the smallest.
  absl::Status Distill(const LayerLesson& lesson, const Block& merged, const Stopwatch& watch) {
    const int64_t layer = lesson.layer;
    Result result;
    for (const bool again : {false, true}) {
      const LayerSettings settings = Settings(layer, again);
      LayerDistiller distiller(settings, lesson, StudentOf(merged, *lesson.source),
                               [&](const LayerDistiller::StepFigures& figures) { Publish(layer, figures); });
      if (!again) {
        // Each layer counts its steps from 1.
        StartEventFiles(context_, distiller.steps(), fmt::format("layer-{:03}", layer));
        REGROUP_ASSIGN_OR_RETURN(result.error_before, distiller.Error());
        if (!std::isfinite(result.error_before)) {
          return absl::InvalidArgumentError(
              fmt::format("layer {}: the merged attention's output is not finite", layer));
        }
      }
      REGROUP_ASSIGN_OR_RETURN(const double reached, TrainAt(layer, settings.learning_rate, again, distiller));
      result.error_after = reached;
      result.steps = distiller.steps();
      result.learning_rate = settings.learning_rate;
      result.seconds = watch.Seconds();
      if (reached <= result.error_before) return Finish(layer, distiller.Trained(), result);
      LogWarning(fmt::format("layer {}: training at rate {:.2g} raised the error from {:.4f} to {:.4f}; {}", layer,
                             settings.learning_rate, result.error_before, reached,
                             again ? "the merged layer stays as it was; a smaller layerwise.learning_rate may help"
                                   : "trying a smaller rate"));
    }
    result.error_after = result.error_before;
    result.kept_start = true;
    return Finish(layer, merged, result);
  }

  /// Returns the error reached; infinity if ten gradients in a row were not finite.
  absl::StatusOr<double> TrainAt(int64_t layer, double rate, bool again, LayerDistiller& distiller) {
    context_.link.ContinueAfter(0);
    REGROUP_RETURN_IF_ERROR(Resume(layer, again, distiller));
    context_.link.activity().SetPhase(fmt::format("layer {} at rate {:.2g}", layer, rate));
    const absl::Status trained = distiller.Run();
    if (absl::IsFailedPrecondition(trained)) {
      LogWarning(std::string(trained.message()));
      return std::numeric_limits<double>::infinity();
    }
    REGROUP_RETURN_IF_ERROR(trained);
    REGROUP_ASSIGN_OR_RETURN(const double reached, distiller.Error());
    return std::isfinite(reached) ? reached : std::numeric_limits<double>::infinity();
  }

  absl::Status Finish(int64_t layer, const Block& block, const Result& result) {
    context_.link.AddMetrics(layer,
                             {{"layer_error_before", result.error_before}, {"layer_error_after", result.error_after}});
    LogInfo("layer trained",
            {{"layer", layer}, {"error_before", result.error_before}, {"error_after", result.error_after}});
    context_.link.ObserveMetrics(nullptr);
    return Save(layer, block,
                {{"layer", layer},
                 {"error_before", result.error_before},
                 {"error_after", result.error_after},
                 {"kept_start", result.kept_start},
                 {"steps", result.steps},
                 {"learning_rate", result.learning_rate},
                 {"seconds", result.seconds}});
  }

  /// Writes the weights and then the record, which makes them valid.
  absl::Status Save(int64_t layer, Block block, nlohmann::ordered_json record) {
    NamedTensors tensors;
    VisitBlock(block, layer, [&](const std::string& name, at::Tensor& tensor) {
      if (!tensor.defined() || !IsOfAttention(name)) return;
      tensors.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
    });
    const fs::path file = context_.out() / artifacts::TrainedAttention(layer);
    REGROUP_RETURN_IF_ERROR(SaveTensors(file, tensors));
    REGROUP_ASSIGN_OR_RETURN(record["sha256"], FileDigest(file));
    return WriteFileAtomically(context_.out() / artifacts::LayerRecord(layer), record.dump(1) + "\n");
  }

  void RemoveWork() const {
    std::error_code error;
    for (const char* name : {"stream-0", "stream-1", "targets", "streams", attempt_files::kTrainingCheckpoints}) {
      fs::remove_all(context_.attempt_folder / name, error);
    }
  }

  StageContext& context_;
  const SourceModel& source_;
  const Conversion& conversion_;
  const SourcePass pass_;
  const int64_t first_, end_;
  /// The source's streams before the current layer.
  std::optional<ResidualStreams> streams_;
  Stopwatch since_report_;
};

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunLayerwise(StageContext& context) {
  context.link.SetProgress("load", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context, Users::kAllJobs));
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
  REGROUP_ASSIGN_OR_RETURN(SourcePass pass, MakeSourcePass(context, source, /*with_embeddings=*/false));
  BlockOfLayers block(context, source, conversion, std::move(pass));
  REGROUP_RETURN_IF_ERROR(block.Run());
  return v1::TaskOutcome();
}

}  // namespace regroup
