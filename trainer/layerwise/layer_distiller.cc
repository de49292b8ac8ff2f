#include "trainer/layerwise/layer_distiller.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "services/common/base/status_macros.h"
#include "services/common/base/stopwatch.h"
#include "trainer/data/shuffled_order.h"
#include "trainer/distill/attention_map_loss.h"
#include "trainer/nn/parameter_names.h"
#include "trainer/nn/windows_at_once.h"

namespace regroup {
namespace {

/// Share of the steps in which the attention probabilities count.
constexpr double kMapShare = 0.4;
constexpr int64_t kWarmUpSteps = 10;
constexpr int64_t kSkippedInRow = 10;

/// Returns the number of windows that only measure the error: enough for an estimate, few enough to spare.
int64_t MeasuredWindows(int64_t windows) { return windows < 2 ? 0 : std::clamp<int64_t>(windows / 16, 1, 16); }

std::vector<at::Tensor*> TrainedTensors(Block& block) {
  std::vector<at::Tensor*> tensors;
  VisitBlock(block, 0, [&](const std::string& name, at::Tensor& tensor) {
    if (tensor.defined() && IsOfAttention(name)) tensors.push_back(&tensor);
  });
  return tensors;
}

at::Tensor ReorderHeads(const at::Tensor& heads, const at::Tensor& order) {
  return heads.defined() && heads.size(1) > 1 ? heads.index_select(1, order) : heads;
}

/// Puts the source's query heads in the merged layer's order, each with a KV head of its own.
AttentionHeads InOrder(AttentionHeads heads, const std::vector<int64_t>& order) {
  const at::Tensor places = at::tensor(order, at::kLong).to(heads.query.device());
  const int64_t repeats = heads.query.size(1) / heads.key.size(1);
  heads.query = ReorderHeads(heads.query, places);
  heads.key = heads.key.index_select(1, places.floor_divide(repeats));
  heads.bias = ReorderHeads(heads.bias, places);
  return heads;
}

/// Returns queries [B, H, T, d] with zeros in rows that do not count, where source and merged layer then attend alike.
at::Tensor ZeroQueries(const at::Tensor& query, const at::Tensor& counted_BT) {
  return counted_BT.defined() ? query * counted_BT.unsqueeze(1).unsqueeze(-1) : query;
}

/// Returns what the attention of the layer in training lacks, in the rows that count [N, D], float32.
at::Tensor Errors(const at::Tensor& branch, const at::Tensor& target, const at::Tensor& counted_BT) {
  return CountedRows(branch.to(at::kFloat) - target, counted_BT);
}

}  // namespace

LayerDistiller::LayerDistiller(LayerSettings settings, LayerLesson lesson, const Block& merged, Publish publish)
    : settings_(std::move(settings)),
      lesson_(std::move(lesson)),
      publish_(std::move(publish)),
      measured_windows_(MeasuredWindows(lesson_.inputs->shape().windows)),
      block_(merged),
      alone_(MakeSelfCommunicator()) {
  const int64_t windows = lesson_.inputs->shape().windows;
  trained_windows_ = windows - measured_windows_;
  for (int64_t pass = 0; pass < settings_.passes; ++pass) {
    const std::vector<int64_t> order = ShuffledOrder(trained_windows_, settings_.seed + static_cast<uint64_t>(pass));
    order_.insert(order_.end(), order.begin(), order.end());
  }
  steps_ = std::max<int64_t>(1, static_cast<int64_t>(order_.size()) / settings_.batch_sequences);
  rate_ = {
      .peak = settings_.learning_rate, .steps = steps_, .warm_up_steps = kWarmUpSteps, .decay = RateDecay::kLinear};
  ParameterGroup group{.name = "attention", .parameters = TrainedTensors(block_)};
  for (at::Tensor* tensor : group.parameters) *tensor = tensor->clone();
  optimizer_ = std::make_unique<ShardedAdamW>(std::vector{std::move(group)}, AdamWOptions{}, *alone_);
}

AttentionRows LayerDistiller::RowsOf(const at::Tensor& streams) const {
  const WindowRunner& runner = lesson_.pass->runner();
  AttentionRows rows = RowsOfAttention(runner.InputsOf(streams, block_, lesson_.layer), block_.attention);
  rows.counted = runner.Counted(streams, lesson_.layer);
  return rows;
}

at::Tensor LayerDistiller::Branch(const AttentionRows& rows, at::Tensor* divergence, double weight) const {
  const ModelConfig& config = lesson_.pass->config();
  const PositionTables& positions = lesson_.pass->runner().positions(lesson_.layer);
  if (divergence == nullptr) {
    return AttentionBranch(AttendHeads(rows, block_.attention, config, positions), block_, config);
  }
  AttentionHeads teacher;
  {
    const at::NoGradGuard no_gradients;
    const AttentionProjections& source = lesson_.source->attention;
    teacher = InOrder(HeadsOfAttention(RowsOfAttention({rows.query, rows.memory}, source), source, config, positions),
                      lesson_.head_order);
  }
  AttentionHeads student = HeadsOfAttention(rows, block_.attention, config, positions);
  for (AttentionHeads* heads : {&student, &teacher}) heads->query = ZeroQueries(heads->query, rows.counted);
  const ComparedAttention compared = AttendAndCompare(student, teacher, weight);
  *divergence = compared.divergence;
  return AttentionBranch(JoinHeads(compared.attended), block_, config);
}

absl::StatusOr<at::Tensor> LayerDistiller::Inputs(const std::vector<int64_t>& windows) const {
  return lesson_.inputs->Read(windows, lesson_.pass->dtype(), lesson_.pass->device());
}

absl::StatusOr<at::Tensor> LayerDistiller::Targets(const std::vector<int64_t>& windows) const {
  return lesson_.targets->Read(windows, at::kFloat, lesson_.pass->device());
}

absl::StatusOr<at::Tensor> LayerDistiller::LossOf(const std::vector<int64_t>& windows, int64_t of_step,
                                                  bool with_map) const {
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor streams, Inputs(windows));
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor target, Targets(windows));
  const double tokens = static_cast<double>(of_step * target.size(1));
  const double heads = static_cast<double>(lesson_.pass->config().heads);
  at::Tensor divergence;
  const AttentionRows rows = RowsOf(streams);
  const at::Tensor branch = Branch(rows, with_map ? &divergence : nullptr, settings_.map_weight / (tokens * heads));
  const at::Tensor error = Errors(branch, target, rows.counted).square().sum() / (tokens * lesson_.variance);
  return divergence.defined() ? error + divergence : error;
}

absl::StatusOr<double> LayerDistiller::Error() const {
  const at::NoGradGuard no_gradients;
  const int64_t first = measured_windows_ > 0 ? trained_windows_ : 0;
  const int64_t count = measured_windows_ > 0 ? measured_windows_ : trained_windows_;
  double squares = 0;
  int64_t tokens = 0;
  const auto measure = [&](std::vector<int64_t> windows) -> absl::Status {
    for (int64_t& window : windows) window += first;
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor streams, Inputs(windows));
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor target, Targets(windows));
    const AttentionRows rows = RowsOf(streams);
    const at::Tensor errors = Errors(Branch(rows, nullptr, 0), target, rows.counted);
    squares += errors.square().sum(at::kDouble).item<double>();
    tokens += errors.size(0);
    return absl::OkStatus();
  };
  REGROUP_RETURN_IF_ERROR(ForEachBatch(count, WindowsAtOnce(lesson_.inputs->shape().tokens), measure));
  return squares / static_cast<double>(tokens) / lesson_.variance;
}

absl::Status LayerDistiller::Resume(const TrainingCheckpoint& checkpoint) {
  REGROUP_RETURN_IF_ERROR(LoadTrainingCheckpoint(checkpoint, *optimizer_));
  done_ = checkpoint.step;
  return absl::OkStatus();
}

Block LayerDistiller::Trained() const {
  Block trained = block_;
  const std::vector<at::Tensor> weights = optimizer_->MasterWeights();
  const std::vector<at::Tensor*> places = TrainedTensors(trained);
  for (size_t i = 0; i < places.size(); ++i) *places[i] = weights[i];
  return trained;
}

std::vector<int64_t> LayerDistiller::WindowsOfStep(int64_t step) const {
  const auto all = static_cast<int64_t>(order_.size());
  const int64_t first = step * settings_.batch_sequences;
  const int64_t end = std::min(first + settings_.batch_sequences, all);
  return {order_.begin() + first, order_.begin() + end};
}

absl::StatusOr<LayerDistiller::StepFigures> LayerDistiller::RunStep() {
  const Stopwatch watch;
  const bool with_map =
      settings_.map_weight > 0 && static_cast<double>(done_) < kMapShare * static_cast<double>(steps_);
  const std::vector<int64_t> windows = WindowsOfStep(done_);
  const int64_t tokens = lesson_.inputs->shape().tokens;
  optimizer_->ZeroGradients();
  double loss = 0;
  const auto count = static_cast<int64_t>(windows.size());
  const auto learn = [&](const std::vector<int64_t>& places) -> absl::Status {
    std::vector<int64_t> batch;
    for (const int64_t place : places) batch.push_back(windows[place]);
    if (places.front() > 0) REGROUP_RETURN_IF_ERROR(optimizer_->AccumulateGradients());
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor share, LossOf(batch, count, with_map));
    share.backward();
    loss += share.item<double>();
    return absl::OkStatus();
  };
  REGROUP_RETURN_IF_ERROR(ForEachBatch(count, WindowsAtOnce(tokens), learn));
  StepFigures figures{.step = done_ + 1, .steps = steps_, .loss = loss, .learning_rate = rate_.At(done_)};
  REGROUP_ASSIGN_OR_RETURN(figures.gradient_norm, optimizer_->Step(figures.learning_rate));
  figures.seconds = watch.Seconds();
  figures.tokens = count * tokens;
  return figures;
}

absl::Status LayerDistiller::SaveIfDue() {
  if (settings_.checkpoints.empty() || skipped_in_row_ > 0 || done_ == steps_) return absl::OkStatus();
  return SaveTrainingCheckpoint(settings_.checkpoints, done_, *optimizer_, *alone_);
}

absl::Status LayerDistiller::Run() {
  Stopwatch since_save;
  while (done_ < steps_) {
    REGROUP_ASSIGN_OR_RETURN(const StepFigures figures, RunStep());
    ++done_;
    skipped_in_row_ = std::isfinite(figures.gradient_norm) ? 0 : skipped_in_row_ + 1;
    if (skipped_in_row_ == kSkippedInRow) {
      return absl::FailedPreconditionError(
          fmt::format("layer {}: gradients were not finite in the {} steps up to step {}; a smaller "
                      "layerwise.learning_rate may help",
                      lesson_.layer, kSkippedInRow, done_));
    }
    publish_(figures);
    if (since_save.Seconds() < settings_.checkpoint_every_s) continue;
    REGROUP_RETURN_IF_ERROR(SaveIfDue());
    since_save = Stopwatch();
  }
  return absl::OkStatus();
}

}  // namespace regroup
