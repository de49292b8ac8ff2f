// refine: refits each layer's output projection in closed form after merging, layer by layer from the first; where it
// is asked for, its query projection before that (query_refit.h).
//
// With y the concatenated head outputs of the converted layer (the input of W_o), and the source's attention output
// plus the lag of the converted residual stream behind the source's as target, over all calibration tokens:
//
//   (sum y^T y + mu I) W = sum y^T target + mu W_o,    mu = 1e-3 of the mean diagonal,
//
// in row vectors, W = W_o'^T; for the feed-forward likewise, with the lag that is left then. The refitted layer then
// carries its own residual stream on to the next one. Sums are float64 and added over the ranks, one all-reduce a
// layer; each rank keeps the two streams of its share of the windows in files, so that memory holds two layers and one
// window.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <functional>

#include "services/base/files.h"
#include "services/base/status_macros.h"
#include "trainer/data/token_windows.h"
#include "trainer/eval/window_batch.h"
#include "trainer/nn/window_runner.h"
#include "trainer/stages/conversion.h"
#include "trainer/stages/convert_block.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/query_refit.h"
#include "trainer/stages/settings.h"
#include "trainer/stages/stage.h"
#include "trainer/stages/tensor_file.h"

namespace regroup {
namespace {

constexpr double kRidge = 1e-3;

class Refiner {
 public:
  Refiner(StageContext& context, const SourceModel& source, const Conversion& conversion, const TokenWindows& windows)
      : context_(context), source_(source), conversion_(conversion), windows_(windows) {
    for (int64_t window = context.communicator.rank(); window < windows.windows();
         window += context.communicator.size()) {
      own_.push_back(window);
    }
  }

  absl::StatusOr<NamedTensors> Run() {
    REGROUP_ASSIGN_OR_RETURN(outer_, source_.MapOuter());
    VisitOuter(outer_, [&](const std::string&, at::Tensor& tensor) {
      if (tensor.defined()) tensor = tensor.to(context_.device, at::kFloat);
    });
    const auto keep_features = [this](int64_t, const at::Tensor& features) { features_ = features; };
    runner_.emplace(outer_, windows_.sequence_length(), context_.device,
                    WindowOptions{.feed_forward_observer = keep_features});
    REGROUP_RETURN_IF_ERROR(OpenStreams());
    NamedTensors refined;
    for (int64_t layer = 0; layer < source_.config().layers; ++layer) {
      REGROUP_ASSIGN_OR_RETURN(const Block source, LoadBlock(layer, /*merged=*/false));
      REGROUP_ASSIGN_OR_RETURN(Block converted, LoadBlock(layer, /*merged=*/true));
      if (context_.spec().refine().queries()) {
        REGROUP_ASSIGN_OR_RETURN(converted.attention.query, RefitQueries(source, converted, layer));
        const auto keep = [&](const std::string& part, const at::Tensor& tensor) {
          if (tensor.defined()) refined.emplace_back(RefinedQueryName(layer, part), tensor.to(at::kCPU));
        };
        keep("weight", converted.attention.query.weight);
        keep("bias", converted.attention.query.bias);
      }
      REGROUP_ASSIGN_OR_RETURN(converted.attention.output.weight, RefitOutput(source, converted, layer));
      refined.emplace_back(RefinedOutputName(layer), converted.attention.output.weight.to(at::kCPU));
      if (context_.spec().refine().feed_forward() && converted.feed_forward.down.defined()) {
        REGROUP_ASSIGN_OR_RETURN(converted.feed_forward.down.weight, RefitFeedForward(source, converted, layer));
        refined.emplace_back(RefinedFeedForwardName(layer), converted.feed_forward.down.weight.to(at::kCPU));
      }
      Advance(source, converted, layer);
      context_.link.SetProgress("layers", layer + 1, source_.config().layers);
    }
    return refined;
  }

 private:
  /// Float32 streams of this rank's windows, [own windows, T, D], in files that go with the attempt.
  absl::Status OpenStreams() {
    const int64_t tokens = windows_.sequence_length();
    const int64_t hidden = source_.config().hidden_size;
    for (at::Tensor* stream : {&source_stream_, &converted_stream_}) {
      const std::string name = stream == &source_stream_ ? "source" : "converted";
      const std::filesystem::path file =
          context_.attempt_folder / fmt::format("stream-{}-{}", name, context_.communicator.rank());
      const int64_t entries = std::max<int64_t>(1, static_cast<int64_t>(own_.size())) * tokens * hidden;
      *stream = at::from_file(file.string(), /*shared=*/true, entries, at::TensorOptions(at::kFloat))
                    .view({-1, tokens, hidden});
      for (size_t row = 0; row < own_.size(); ++row) {
        const at::Tensor batch = WindowBatch(windows_, {own_[row]}, context_.device);
        stream->select(0, static_cast<int64_t>(row)).copy_(runner_->Start(batch)[0]);
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Block> LoadBlock(int64_t layer, bool merged) const {
    REGROUP_ASSIGN_OR_RETURN(Block block, source_.MapBlock(layer));
    if (merged) REGROUP_RETURN_IF_ERROR(conversion_.Merge(block, layer));
    ConvertBlock(block, at::kFloat, context_.device);
    return block;
  }

  at::Tensor Row(const at::Tensor& stream, size_t row) const {
    return stream.select(0, static_cast<int64_t>(row)).unsqueeze(0).to(context_.device);
  }

  AttentionRows RowsOf(const at::Tensor& stream, const Block& block, int64_t layer) const {
    return RowsOfAttention(runner_->InputsOf(stream, block, layer), block.attention);
  }

  at::Tensor Heads(const at::Tensor& stream, const Block& block, int64_t layer) const {
    return AttendHeads(RowsOf(stream, block, layer), block.attention, source_.config(), runner_->positions(layer));
  }

  absl::StatusOr<Linear> RefitQueries(const Block& source, const Block& converted, int64_t layer) {
    const Linear& old = converted.attention.query;
    QueryRefit refit(AttentionShapeOf(source_.config(), layer), conversion_.alignments()[layer], old.bias.defined(),
                     context_.device);
    for (size_t row = 0; row < own_.size(); ++row) {
      const AttentionRows from = RowsOf(Row(source_stream_, row), source, layer);
      refit.Add(from, Project(from.query, source.attention.query),
                RowsOf(Row(converted_stream_, row), converted, layer));
      context_.link.activity().Tick();
    }
    for (at::Tensor& sum : refit.Sums()) REGROUP_RETURN_IF_ERROR(context_.communicator.AllReduceSum(sum));
    return refit.Solve(old);
  }

  /// What a projection reads and what it is to give without its bias, of one window; [tokens, width].
  struct Pass {
    at::Tensor inputs;
    at::Tensor target;
  };

  /// The source's attention output plus the lag of the converted stream behind the source's.
  Pass PassOfOutput(const Block& source, const Block& converted, int64_t layer, size_t row) const {
    const at::Tensor source_stream = Row(source_stream_, row);
    const at::Tensor converted_stream = Row(converted_stream_, row);
    at::Tensor target = Project(Heads(source_stream, source, layer), source.attention.output);
    if (AddsToStream()) {
      target = target + runner_->PartOf(source_stream, layer) - runner_->PartOf(converted_stream, layer);
    }
    return {Heads(converted_stream, converted, layer).flatten(0, 1), target.flatten(0, 1)};
  }

  /// The source's feed-forward output plus the lag that the refitted attention has left.
  Pass PassOfFeedForward(const Block& source, const Block& converted, int64_t layer, size_t row) const {
    const at::Tensor source_part = runner_->AdvancePart(Row(source_stream_, row), source, layer);
    at::Tensor target = Project(features_, source.feed_forward.down);
    const at::Tensor converted_part = runner_->AdvancePart(Row(converted_stream_, row), converted, layer);
    if (AddsToStream()) target = source_part - (converted_part - Project(features_, converted.feed_forward.down));
    return {features_.flatten(0, 1), target.flatten(0, 1)};
  }

  /// Behind a norm, outputs do not add to the residual stream as they are.
  bool AddsToStream() const { return source_.config().layout != BlockLayout::kNormAfter; }

  absl::StatusOr<at::Tensor> RefitOutput(const Block& source, const Block& converted, int64_t layer) {
    return Refit(converted.attention.output, [&](size_t row) { return PassOfOutput(source, converted, layer, row); });
  }

  absl::StatusOr<at::Tensor> RefitFeedForward(const Block& source, const Block& converted, int64_t layer) {
    return Refit(converted.feed_forward.down,
                 [&](size_t row) { return PassOfFeedForward(source, converted, layer, row); });
  }

  /// The weight for which the passes of all windows fit best.
  absl::StatusOr<at::Tensor> Refit(const Linear& projection, const std::function<Pass(size_t row)>& pass_of) {
    const at::Tensor& old = projection.weight;
    const at::TensorOptions wide = old.options().dtype(at::kDouble);
    at::Tensor moment = at::zeros({old.size(1), old.size(1)}, wide);
    at::Tensor product = at::zeros({old.size(1), old.size(0)}, wide);
    for (size_t row = 0; row < own_.size(); ++row) {
      Pass pass = pass_of(row);
      if (projection.bias.defined()) pass.target = pass.target - projection.bias;
      moment += at::mm(pass.inputs.t(), pass.inputs);
      product += at::mm(pass.inputs.t(), pass.target);
      context_.link.activity().Tick();
    }
    REGROUP_RETURN_IF_ERROR(context_.communicator.AllReduceSum(moment));
    REGROUP_RETURN_IF_ERROR(context_.communicator.AllReduceSum(product));
    const at::Tensor ridge = moment.diagonal().mean() * kRidge;
    moment.diagonal().add_(ridge);
    product += ridge * old.t();
    return at::linalg_solve(moment, product).t().to(old.scalar_type()).contiguous();
  }

  void Advance(const Block& source, const Block& converted, int64_t layer) {
    for (size_t row = 0; row < own_.size(); ++row) {
      const auto index = static_cast<int64_t>(row);
      source_stream_.select(0, index).copy_(runner_->Advance(Row(source_stream_, row), source, layer)[0]);
      converted_stream_.select(0, index).copy_(runner_->Advance(Row(converted_stream_, row), converted, layer)[0]);
      context_.link.activity().Tick();
    }
  }

  StageContext& context_;
  const SourceModel& source_;
  const Conversion& conversion_;
  const TokenWindows& windows_;
  /// Float32 on the device, without blocks.
  Model outer_;
  std::optional<WindowRunner> runner_;
  /// Windows of this rank.
  std::vector<int64_t> own_;
  at::Tensor source_stream_;
  at::Tensor converted_stream_;
  /// What the last projection of the feed-forward read when a layer last ran.
  at::Tensor features_;
};

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunRefine(StageContext& context) {
  at::NoGradGuard no_gradients;
  context.link.SetProgress("load", 0, 0);
  const v1::Calibration& calibration = context.spec().calibration();
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(context.spec().source().checkpoint()));
  if (context.spec().refine().queries() && source.config().query_key_norm != QueryKeyNorm::kNone) {
    return absl::InvalidArgumentError(
        "refine.queries: this model normalises its queries and keys, so that logits are not linear in the queries; "
        "leave "
        "refine.queries out");
  }
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, Conversion::Load(context, source.config()));
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows windows,
                           BuildWindows("calibration.data", calibration.data(), source,
                                        {.sequence_length = SequenceLength(calibration, source.config()),
                                         .max_windows = calibration.sequences()}));
  Refiner refiner(context, source, conversion, windows);
  REGROUP_ASSIGN_OR_RETURN(const NamedTensors refined, refiner.Run());
  if (context.leads()) REGROUP_RETURN_IF_ERROR(SaveTensors(context.out() / "outputs.safetensors", refined));
  for (const char* stream : {"source", "converted"}) {
    std::error_code error;
    std::filesystem::remove(context.attempt_folder / fmt::format("stream-{}-{}", stream, context.communicator.rank()),
                            error);
  }
  return v1::TaskOutcome();
}

}  // namespace regroup
