// refine: refits each layer's output projection in closed form after merging, layer by layer from the first.
//
// Let y be the concatenated head outputs of the converted layer (the input of W_o). The target is the source's
// attention output plus the difference between the source's and the converted residual stream. Over all calibration
// tokens,
//
//   (sum y^T y + mu I) W = sum y^T target + mu W_o,    mu = 1e-3 of the mean diagonal,
//
// in row vectors, W = W_o'^T. The refitted layer then carries its own residual stream on to the next one. Sums are
// float64 and added over the ranks, one all-reduce per layer; each rank keeps the two streams of its share of the
// windows in files, so that memory holds two layers and one window.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/token_windows.h"
#include "trainer/eval/window_batch.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/nn/window_runner.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/load_conversion.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

constexpr double kRidge = 1e-3;

/// The data of one window that one layer needs.
struct AttentionPass {
  /// Target of the refitted projection, without its bias: the source's output plus the lag of the stream.
  at::Tensor target;           // [N, D]
  at::Tensor converted_heads;  // [N, H d]
};

class OutputRefiner {
 public:
  OutputRefiner(StageContext& context, const SourceModel& source, const Conversion& conversion,
                const TokenWindows& windows)
      : context_(context),
        source_(source),
        conversion_(conversion),
        windows_(windows),
        own_(WindowsOfRank(windows.windows(), context.communicator.rank(), context.communicator.size())) {}

  absl::StatusOr<NamedTensors> Run() {
    REGROUP_ASSIGN_OR_RETURN(outer_, source_.MapOuter());
    VisitOuter(outer_, [&](const std::string&, at::Tensor& tensor) {
      if (tensor.defined()) tensor = tensor.to(context_.device, at::kFloat);
    });
    runner_.emplace(outer_, windows_.sequence_length(), context_.device);
    REGROUP_RETURN_IF_ERROR(OpenStreams());
    NamedTensors outputs;
    for (int64_t layer = 0; layer < source_.config().layers; ++layer) {
      REGROUP_ASSIGN_OR_RETURN(const Block source, LoadBlock(layer, /*merged=*/false));
      REGROUP_ASSIGN_OR_RETURN(Block converted, LoadBlock(layer, /*merged=*/true));
      REGROUP_ASSIGN_OR_RETURN(converted.attention.output.weight, Refit(source, converted, layer));
      outputs.emplace_back(artifacts::RefinedOutputTensor(layer), converted.attention.output.weight.to(at::kCPU));
      Advance(source, converted, layer);
      context_.link.SetProgress("layers", layer + 1, source_.config().layers);
    }
    return outputs;
  }

 private:
  /// Opens the float32 streams of this rank's windows, [own windows, T, D], in files that are removed with the attempt.
  absl::Status OpenStreams() {
    const int64_t tokens = source_.config().StreamTokens(windows_.sequence_length());
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

  at::Tensor Heads(const at::Tensor& stream, const Block& block, int64_t layer) const {
    return AttendHeads(RowsOfAttention(runner_->InputsOf(stream, block, layer), block.attention), block.attention,
                       source_.config(), runner_->positions(layer));
  }

  AttentionPass Attend(const Block& source, const Block& converted, int64_t layer, size_t row) const {
    const at::Tensor source_stream = Row(source_stream_, row);
    const at::Tensor converted_stream = Row(converted_stream_, row);
    AttentionPass pass{Project(Heads(source_stream, source, layer), source.attention.output),
                       Heads(converted_stream, converted, layer)};
    // With a norm after the attention, the output is not added to the residual stream unchanged.
    if (!source_.config().NormsAttentionOutput()) {
      const at::Tensor missing = runner_->PartOf(source_stream, layer) - runner_->PartOf(converted_stream, layer);
      pass.target = pass.target + missing / source_.config().residual_scale;
    }
    if (converted.attention.output.bias.defined()) pass.target = pass.target - converted.attention.output.bias;
    const at::Tensor counted = runner_->Counted(source_stream, layer);
    return {CountedRows(pass.target, counted), CountedRows(pass.converted_heads, counted)};
  }

  absl::StatusOr<at::Tensor> Refit(const Block& source, const Block& converted, int64_t layer) {
    const at::Tensor& old = converted.attention.output.weight;
    const at::TensorOptions wide = old.options().dtype(at::kDouble);
    at::Tensor moment = at::zeros({old.size(1), old.size(1)}, wide);
    at::Tensor product = at::zeros({old.size(1), old.size(0)}, wide);
    for (size_t row = 0; row < own_.size(); ++row) {
      const AttentionPass pass = Attend(source, converted, layer, row);
      const at::Tensor& heads = pass.converted_heads;
      moment += at::mm(heads.t(), heads);
      product += at::mm(heads.t(), pass.target);
      context_.link.activity().Tick();
    }
    REGROUP_RETURN_IF_ERROR(context_.communicator.AllReduceSum(moment));
    REGROUP_RETURN_IF_ERROR(context_.communicator.AllReduceSum(product));
    const at::Tensor ridge = moment.diagonal().mean() * kRidge;
    if (ridge.item<double>() == 0) return old;  // All heads are zero: every weight is equally good.
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
  const std::vector<int64_t> own_;
  at::Tensor source_stream_;
  at::Tensor converted_stream_;
};

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunRefine(StageContext& context) {
  at::NoGradGuard no_gradients;
  context.link.SetProgress("load", 0, 0);
  const v1::Calibration& calibration = context.spec().calibration();
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context));
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows windows,
                           ReadWindows(context, TextOf(calibration), source,
                                       {.sequence_length = SequenceLength(calibration, source.config()),
                                        .max_windows = calibration.sequences()}));
  OutputRefiner refiner(context, source, conversion, windows);
  REGROUP_ASSIGN_OR_RETURN(const NamedTensors outputs, refiner.Run());
  if (context.leads()) REGROUP_RETURN_IF_ERROR(SaveTensors(context.out() / artifacts::kRefinedOutputs, outputs));
  for (const char* stream : {"source", "converted"}) {
    std::error_code error;
    std::filesystem::remove(context.attempt_folder / fmt::format("stream-{}-{}", stream, context.communicator.rank()),
                            error);
  }
  return v1::TaskOutcome();
}

}  // namespace regroup
