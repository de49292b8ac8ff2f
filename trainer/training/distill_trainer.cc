#include "trainer/training/distill_trainer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "trainer/distill/bild_loss.h"
#include "trainer/distill/branch_loss.h"
#include "trainer/distill/kl_loss.h"
#include "trainer/eval/perplexity.h"
#include "trainer/nn/window_runner.h"
#include "trainer/training/student_lender.h"

namespace regroup {
namespace {

/// A gate's score changes by about this much per step, in units of alpha.
constexpr double kGateRate = 0.02;
constexpr int64_t kSkippedInRow = 10;
/// The values of all gates are published at least this often, if there are so many steps, and less than twice as often.
constexpr int64_t kGateHistograms = 200;
/// Name in checkpoints.
constexpr char kEarlyStopping[] = "early_stopping";

/// A blocking copy would stall the thread that feeds the GPU, so batches are in pinned memory.
MicroBatch Moved(MicroBatch batch, at::Device device) {
  batch.host_documents = batch.documents;
  for (at::Tensor* tensor : {&batch.tokens, &batch.documents, &batch.answers}) {
    if (tensor->defined()) *tensor = tensor->to(device, /*non_blocking=*/true);
  }
  return batch;
}

/// Returns an observer that appends what each attention layer adds.
std::function<void(int64_t, const at::Tensor&)> KeepIn(std::vector<at::Tensor>& branches) {
  return [&branches](int64_t, const at::Tensor& branch) { branches.push_back(branch); };
}

BatchSettings BatchesOf(const DistillSettings& settings, const Communicator& communicator, at::Device device) {
  return {.batch_sequences = settings.batch_sequences,
          .micro_batch_sequences = settings.micro_batch_sequences,
          .seed = settings.seed,
          .with_documents = !settings.across_documents,
          .pinned = device.is_cuda(),
          .rank = communicator.rank(),
          .ranks = communicator.size()};
}

}  // namespace

DistillTrainer::DistillTrainer(DistillSettings settings, Student& student, const Model& teacher,
                               const TokenWindows& windows, Communicator& communicator, WorkerLink& link,
                               at::Device device)
    : settings_(std::move(settings)),
      student_(student),
      teacher_(teacher),
      windows_(windows),
      communicator_(communicator),
      link_(link),
      device_(device),
      rate_{.peak = settings_.learning_rate, .steps = settings_.steps},
      sparsity_{.steps = settings_.steps},
      optimizer_(student.ParameterGroups(kGateRate / settings_.learning_rate),
                 {.shard_gradients = settings_.shard_gradients, .overlap = settings_.overlap}, communicator),
      reader_(windows, BatchesOf(settings_, communicator, device)) {
  rotary_ = MakeRotaryTables(teacher_.config, windows_.sequence_length(), device_, teacher_.embedding.scalar_type());
  if (SlicedBlocks* const slices = student_.slices()) FetchFrom(*slices);
}

void DistillTrainer::FetchFrom(SlicedBlocks& slices) {
  SideLane& lane = optimizer_.lane();
  slices.FetchOn(communicator_, lane, optimizer_.overlaps());
}

void DistillTrainer::FetchTeacher(SlicedBlocks& slices) {
  FetchFrom(slices);
  teacher_lender_.emplace(teacher_.blocks, slices);
}

absl::Status DistillTrainer::Resume(const TrainingCheckpoint& checkpoint) {
  REGROUP_RETURN_IF_ERROR(LoadTrainingCheckpoint(checkpoint, optimizer_));
  REGROUP_ASSIGN_OR_RETURN(const std::optional<at::Tensor> measured, LoadCheckpointTensor(checkpoint, kEarlyStopping));
  early_stopping_ = EarlyStopping(settings_.stop_when_no_better);
  if (measured.has_value()) REGROUP_RETURN_IF_ERROR(early_stopping_.Load(*measured));
  done_ = checkpoint.step;
  link_.ContinueAfter(done_);
  useful_seconds_ = useful_seconds_at_[checkpoint.step];
  last_checkpoint_ = checkpoint;
  return absl::OkStatus();
}

absl::Status DistillTrainer::Run() {
  while (!IsOver()) {
    link_.activity().SetStep(done_);
    REGROUP_ASSIGN_OR_RETURN(const StepFigures figures, RunStep(done_));
    CountSkipped(figures.gradient_norm);
    if (skipped_in_row_ == 0) useful_seconds_ += figures.seconds;
    Publish(done_, figures);
    ++done_;
    if (skipped_in_row_ == kSkippedInRow) {
      REGROUP_RETURN_IF_ERROR(GoBack());
      continue;
    }
    if (IsMeasurementDue()) REGROUP_RETURN_IF_ERROR(Measure());
    REGROUP_RETURN_IF_ERROR(ContinueSave());
    if (IsSaveDue()) REGROUP_RETURN_IF_ERROR(BeginSave(done_));
    // After a skipped step the state may not be saved, and after the last one little is left to do.
    if (figures.is_pausing && skipped_in_row_ == 0 && !IsOver()) return Pause();
  }
  if (done_ < settings_.steps) {
    LogInfo("training ends early: its perplexity has not fallen any more",
            {{"step", done_}, {"lowest", early_stopping_.best()}, {"step_of_lowest", early_stopping_.best_step()}});
  }
  return FinishSave();
}

absl::Status DistillTrainer::Pause() {
  if (saver_.step() != done_) REGROUP_RETURN_IF_ERROR(BeginSave(done_));
  REGROUP_RETURN_IF_ERROR(FinishSave());
  is_paused_ = true;
  return absl::OkStatus();
}

bool DistillTrainer::IsMeasurementDue() const {
  const int64_t every = settings_.measure_every_steps;
  return measured_windows_ != nullptr && every > 0 && (done_ % every == 0 || done_ == settings_.steps);
}

absl::Status DistillTrainer::Measure() {
  const at::NoGradGuard no_gradients;
  link_.activity().SetPhase("measurement");
  const bool gates_are_open = student_.gated() && !sparsity_.ShutAt(done_);
  const at::Tensor gate_values = gates_are_open ? GateValuesWithoutNoise(student_.scores()) : at::Tensor();
  StudentLender lender(student_, gate_values, nullptr);
  PerplexityOptions options{.progress = [this](int64_t) { link_.activity().Tick(); }, .max_windows = measured_count_};
  if (student_.slices() != nullptr) options.lender = &lender;
  REGROUP_ASSIGN_OR_RETURN(
      const Perplexity measured,
      MeasurePerplexity(student_.Effective(gate_values), *measured_windows_, device_, communicator_, options));
  if (student_.slices() != nullptr) REGROUP_RETURN_IF_ERROR(student_.slices()->Finish());
  REGROUP_ASSIGN_OR_RETURN(const double perplexity, Agree(measured.perplexity));
  // A skipped step has changed nothing, and several in a row mean that training will go back.
  if (!gates_are_open && skipped_in_row_ == 0) early_stopping_.Add(done_, perplexity);
  link_.AddMetrics(done_, {{kValidationPerplexity, perplexity}});
  return absl::OkStatus();
}

absl::StatusOr<double> DistillTrainer::Agree(double perplexity) {
  at::Tensor sent = at::full({1}, perplexity, at::TensorOptions(device_).dtype(at::kDouble));
  REGROUP_RETURN_IF_ERROR(communicator_.Broadcast(sent, /*root=*/0));
  return sent.item<double>();
}

void DistillTrainer::CountSkipped(double gradient_norm) {
  if (std::isfinite(gradient_norm)) {
    skipped_in_row_ = 0;
    return;
  }
  ++skipped_in_row_;
  ++skipped_;
}

absl::Status DistillTrainer::GoBack() {
  REGROUP_RETURN_IF_ERROR(FinishSave());
  const std::string trouble =
      fmt::format("finetune: gradients were not finite in the {} steps up to step {}", kSkippedInRow, done_);
  if (!last_checkpoint_.has_value() || went_back_) {
    return absl::InternalError(
        fmt::format("{}{}; a smaller finetune.learning_rate or precision: float32 may help", trouble,
                    went_back_ ? ", for the second time, after restarting from a checkpoint" : ""));
  }
  LogWarning(trouble + "; restarting from the last checkpoint",
             {{"step", last_checkpoint_->step}, {"checkpoint", last_checkpoint_->folder.string()}});
  // Rank 0 writes the manifest, so all ranks wait for it.
  REGROUP_RETURN_IF_ERROR(communicator_.Barrier());
  REGROUP_ASSIGN_OR_RETURN(const std::optional<TrainingCheckpoint> intact,
                           FindTrainingCheckpoint({last_checkpoint_->folder.parent_path()}, communicator_,
                                                  [this] { link_.activity().Tick(); }));
  if (!intact.has_value()) return absl::InternalError(trouble + ", and no checkpoint is intact");
  REGROUP_RETURN_IF_ERROR(Resume(*intact));
  went_back_ = true;
  skipped_in_row_ = 0;
  return absl::OkStatus();
}

bool DistillTrainer::IsSaveDue() const {
  // After a skipped step the state may already contain the cause of the bad gradients.
  const int64_t every = settings_.checkpoint_every_steps;
  return every > 0 && skipped_in_row_ == 0 && (done_ % every == 0 || IsOver());
}

absl::Status DistillTrainer::BeginSave(int64_t steps_done) {
  const auto start = std::chrono::steady_clock::now();
  REGROUP_RETURN_IF_ERROR(FinishSave());
  link_.activity().SetPhase("save");
  link_.activity().SetBackground(fmt::format("the checkpoint of step {} is written", steps_done));
  useful_seconds_at_[steps_done] = useful_seconds_;
  saver_.Begin(steps_done, optimizer_, {{kEarlyStopping, early_stopping_.State()}});
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  link_.AddMetrics(steps_done, {{"checkpoint_stall_seconds", elapsed.count()}});
  return absl::OkStatus();
}

absl::Status DistillTrainer::ContinueSave() {
  REGROUP_ASSIGN_OR_RETURN(const auto saved, saver_.Continue());
  if (saved.has_value()) NoteSaved(*saved);
  return absl::OkStatus();
}

absl::Status DistillTrainer::FinishSave() {
  link_.activity().SetPhase("save");
  REGROUP_ASSIGN_OR_RETURN(const auto saved, saver_.Finish());
  if (saved.has_value()) NoteSaved(*saved);
  return absl::OkStatus();
}

void DistillTrainer::NoteSaved(const CheckpointSaver::Saved& saved) {
  link_.activity().SetBackground("");
  last_checkpoint_ = {.folder = TrainingCheckpointFolder(settings_.checkpoints, saved.step),
                      .step = saved.step,
                      .ranks = communicator_.size()};
  link_.AddMetrics(saved.step, {{"checkpoint_seconds", saved.seconds}});
}

at::Tensor DistillTrainer::GateValuesAt(int64_t step) {
  if (!student_.gated() || sparsity_.ShutAt(step)) return {};
  // A copy to a GPU makes the host wait, so that there is one for all micro-batches of a step.
  if (std::exchange(step_of_gate_noise_, step) != step) {
    gate_noise_ = GateNoise(student_.gates(), settings_.seed, step).to(device_);
  }
  return GateValues(student_.scores(), gate_noise_);
}

absl::StatusOr<at::Tensor> DistillTrainer::TeacherHidden(const MicroBatch& batch, std::vector<at::Tensor>& branches) {
  at::NoGradGuard no_gradients;
  link_.activity().SetPhase("teacher forward");
  const auto compute = [&](const at::Tensor& tokens, const at::Tensor& documents, const at::Tensor& host_documents) {
    WindowOptions options{.documents = documents, .host_documents = host_documents, .rotary = &rotary_};
    if (teacher_lender_.has_value()) options.lender = &*teacher_lender_;
    if (settings_.attention_weight > 0) options.branch_observer = KeepIn(branches);
    return RunHiddenStates(teacher_, tokens, options).flatten(0, 1);
  };
  if (teacher_states_ == nullptr) return compute(batch.tokens, batch.documents, batch.host_documents);
  std::vector<at::Tensor> rows;
  for (size_t i = 0; i < batch.windows.size(); ++i) {
    // Computed one by one, so that the stored states do not depend on the other windows of this step.
    const auto row = [&](const at::Tensor& all) {
      return all.defined() ? all.narrow(0, static_cast<int64_t>(i), 1) : all;
    };
    REGROUP_ASSIGN_OR_RETURN(rows.emplace_back(), teacher_states_->Get(batch.windows[i], [&] {
      return compute(row(batch.tokens), row(batch.documents), row(batch.host_documents));
    }));
  }
  return at::cat(rows).to(device_);
}

at::Tensor DistillTrainer::LossOf(const Model& model, at::Tensor hidden, at::Tensor teacher_hidden,
                                  const MicroBatch& batch, int64_t answers) const {
  const ChunkedLossOptions options{.soft_cap = teacher_.config.logit_soft_cap};
  const bool is_kl = settings_.loss == DistillLoss::kKl;
  if (is_kl && !batch.answers.defined()) {
    const int64_t positions = hidden.size(0) / batch.tokens.size(0);
    const double weight = 1.0 / static_cast<double>(settings_.batch_sequences * positions);
    return ChunkedKlLoss(hidden, model.OutputProjection(), teacher_hidden, teacher_.OutputProjection(), weight,
                         options);
  }
  const double weight = 1.0 / static_cast<double>(std::max<int64_t>(1, answers));
  hidden = hidden.index_select(0, batch.answers);
  teacher_hidden = teacher_hidden.index_select(0, batch.answers);
  if (is_kl) {
    return ChunkedKlLoss(hidden, model.OutputProjection(), teacher_hidden, teacher_.OutputProjection(), weight,
                         options);
  }
  return ChunkedBildLoss(hidden, model.OutputProjection(), teacher_hidden, teacher_.OutputProjection(), weight, {},
                         options);
}

absl::StatusOr<at::Tensor> DistillTrainer::RunMicroBatch(int64_t step, const MicroBatch& batch, int64_t answers) {
  std::vector<at::Tensor> teacher_branches, branches;
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor teacher_hidden, TeacherHidden(batch, teacher_branches));
  link_.activity().SetPhase("forward");
  const at::Tensor gate_values = GateValuesAt(step);
  const Model model = student_.Effective(gate_values);
  StudentLender lender(student_, gate_values, &optimizer_);
  WindowOptions options{.recompute = settings_.recompute,
                        .documents = batch.documents,
                        .host_documents = batch.host_documents,
                        .rotary = &rotary_};
  if (student_.slices() != nullptr) options.lender = &lender;
  if (settings_.attention_weight > 0) options.branch_observer = KeepIn(branches);
  const at::Tensor hidden = RunHiddenStates(model, batch.tokens, options).flatten(0, 1);
  at::Tensor loss = LossOf(model, hidden, teacher_hidden, batch, answers);
  if (settings_.attention_weight > 0) {
    loss = loss + BranchLoss(branches, teacher_branches,
                             settings_.attention_weight / static_cast<double>(settings_.batch_sequences));
  }
  link_.activity().SetPhase("backward");
  loss.backward();
  return loss.detach().to(at::kDouble);
}

void DistillTrainer::AddSparsityGradient(int64_t step) {
  // Every rank adds its share, because gradients are summed.
  const at::Tensor penalty = SparsityPenalty(student_.scores(), sparsity_.TargetAt(step)) / communicator_.size();
  penalty.backward();
}

absl::StatusOr<at::Tensor> DistillTrainer::RunMicroBatches(int64_t step) {
  const StepBatch batch = reader_.Take(step);
  // It stays on the device: reading it would make the thread that feeds a GPU wait for the micro-batch.
  at::Tensor loss = at::zeros({}, at::TensorOptions(device_).dtype(at::kDouble));
  for (size_t i = 0; i < batch.micro_batches.size(); ++i) {
    if (i > 0) REGROUP_RETURN_IF_ERROR(optimizer_.AccumulateGradients());
    optimizer_.BeginBackward(/*is_last=*/i + 1 == batch.micro_batches.size());
    const MicroBatch micro_batch = Moved(batch.micro_batches[i], device_);
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor share, RunMicroBatch(step, micro_batch, batch.answers));
    loss += share;
  }
  return loss;
}

absl::StatusOr<DistillTrainer::StepFigures> DistillTrainer::RunStep(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  const double collectives_before = WaitedSeconds();
  const bool steering = student_.gated() && !sparsity_.ShutAt(step);
  optimizer_.ZeroGradients();
  // The sparsity gradient comes first, because the last micro-batch's backward pass must be the last one of the step.
  if (steering) AddSparsityGradient(step);
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor loss, RunMicroBatches(step));
  link_.activity().SetPhase("optimizer");
  StepFigures figures;
  REGROUP_ASSIGN_OR_RETURN(figures.gradient_norm, optimizer_.Step(rate_.At(step)));
  if (steering && std::isfinite(figures.gradient_norm)) SteerScores(student_.scores(), sparsity_.TargetAt(step));
  // The ranks must agree on the step after which they pause.
  const at::Tensor pausing = at::full({1}, link_.is_pausing() ? 1.0 : 0.0, at::kDouble);
  at::Tensor sums = at::cat({loss.view(1), at::cat({pausing, rank_times_.Share()}).to(device_)});
  REGROUP_RETURN_IF_ERROR(communicator_.AllReduceSum(sums));
  sums = sums.cpu();
  figures.loss = sums[0].item<double>();
  figures.is_pausing = sums[1].item<double>() > 0;
  figures.ranks = rank_times_.Judge(sums.slice(0, 2).contiguous());
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  figures.collective_seconds = WaitedSeconds() - collectives_before;
  rank_times_.Note(figures.seconds - figures.collective_seconds);
  return figures;
}

double DistillTrainer::WaitedSeconds() const { return communicator_.seconds() - optimizer_.hidden_seconds(); }

void DistillTrainer::PublishRanks(int64_t step, const RankTimes::Figures& ranks) {
  link_.AddMetrics(step + 1, {{"slowest_rank", static_cast<double>(ranks.slowest_rank)},
                              {"slowest_rank_seconds", ranks.slowest_seconds},
                              {"median_rank_seconds", ranks.median_seconds}});
  if (!ranks.lags) return;
  LogWarning("one rank computes more slowly than the others, which wait for it in every step",
             {{"slow_rank", ranks.slowest_rank},
              {"seconds", ranks.slowest_seconds},
              {"median_seconds", ranks.median_seconds},
              {"steps", RankTimes::kSteps}});
}

void DistillTrainer::Publish(int64_t step, const StepFigures& figures) {
  link_.SetProgress("step", step + 1, settings_.steps);
  if (communicator_.rank() != 0) return;
  const int64_t window = teacher_.config.StreamTokens(windows_.sequence_length());
  const double tokens = static_cast<double>(settings_.batch_sequences * window);
  const double flops_per_second = tokens * settings_.flops_per_token / figures.seconds;
  link_.AddMetrics(step + 1, {{"loss", figures.loss},
                              {"gradient_norm", figures.gradient_norm},
                              {"learning_rate", rate_.At(step)},
                              {"step_seconds", figures.seconds},
                              {"collective_seconds", figures.collective_seconds},
                              {"skipped_steps", static_cast<double>(skipped_)},
                              {kUsefulSeconds, useful_seconds_},
                              {"flops_per_second", flops_per_second},
                              {"tokens_per_second", tokens / figures.seconds}});
  if (settings_.peak_flops_per_second.has_value()) {
    link_.AddMetrics(step + 1, {{"model_flops_utilization", flops_per_second / *settings_.peak_flops_per_second}});
  }
  if (figures.ranks.has_value()) PublishRanks(step, *figures.ranks);
  if (!student_.gated()) return;
  PublishGates(step);
}

void DistillTrainer::PublishGates(int64_t step) {
  const bool shut = sparsity_.ShutAt(step);
  const double sparsity = shut ? 1.0 : ClosedProbability(student_.scores().detach()).mean().item<double>();
  link_.AddMetrics(step + 1, {{"gate_sparsity", sparsity}, {"gate_sparsity_target", sparsity_.TargetAt(step)}});
  if ((step + 1) % std::max<int64_t>(1, settings_.steps / kGateHistograms) != 0) return;
  at::Tensor values = GateValuesWithoutNoise(student_.scores().detach());
  if (shut) values.zero_();
  values = values.to(at::kCPU, at::kDouble).contiguous();
  link_.AddHistogram(step + 1, "gates", {values.const_data_ptr<double>(), static_cast<size_t>(values.numel())});
}

}  // namespace regroup
