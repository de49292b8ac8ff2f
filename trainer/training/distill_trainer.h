// Implements the training loop of fine-tuning: the student learns the teacher's next-token distribution on every token,
// or the teacher's largest logits on the tokens of answers.
//
// A step depends only on its number, the seed and the weights: the order of the data, the noise of the gates and the
// learning rate are functions of the step number, so that a run continues from a checkpoint as if it had never stopped.
// All ranks run it together; each takes its slice of every batch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "trainer/data/token_windows.h"
#include "trainer/distill/teacher_states.h"
#include "trainer/link/worker_link.h"
#include "trainer/nn/window_runner.h"
#include "trainer/optim/schedule.h"
#include "trainer/optim/sharded_adamw.h"
#include "trainer/parallel/communicator.h"
#include "trainer/training/batch_reader.h"
#include "trainer/training/checkpoint_saver.h"
#include "trainer/training/early_stopping.h"
#include "trainer/training/gates.h"
#include "trainer/training/rank_times.h"
#include "trainer/training/student.h"
#include "trainer/training/training_checkpoint.h"

namespace regroup {

/// See kl_loss.h and bild_loss.h. kBild needs windows with answers.
enum class DistillLoss { kKl, kBild };

/// Metric with the perplexity of the student, at the steps at which it is measured.
inline constexpr char kValidationPerplexity[] = "validation_perplexity";

/// Metric with the seconds of all steps so far that count, those of earlier attempts included: not of steps that were
/// repeated from a checkpoint, or skipped because their gradient was not finite.
inline constexpr char kUsefulSeconds[] = "useful_seconds";

struct DistillSettings {
  int64_t steps = 0;
  /// Sequences of one step over all ranks; a multiple of ranks x micro_batch_sequences.
  int64_t batch_sequences = 0;
  int64_t micro_batch_sequences = 1;
  double learning_rate = 1e-5;
  /// See TrainingFlops.
  double flops_per_token = 0;
  /// Peak of all ranks together, if it is known.
  std::optional<double> peak_flops_per_second;
  uint64_t seed = 0;
  /// 0 disables checkpoints.
  int64_t checkpoint_every_steps = 0;
  std::filesystem::path checkpoints;
  Recompute recompute = Recompute::kNothing;
  /// If true, attention crosses document boundaries.
  bool across_documents = true;
  /// See AdamWOptions. The bits are the same with and without `overlap`.
  bool overlap = true;
  /// Needed if the student's blocks are sliced.
  bool shard_gradients = false;
  DistillLoss loss = DistillLoss::kKl;
  /// Weight of BranchLoss beside the loss on the predictions; above 0 not with recompute kBlock, kept states or sliced
  /// blocks.
  double attention_weight = 0;
  /// Steps between measurements of the student, if MeasureOn is called; there is one after the last step too. 0
  /// disables measurements.
  int64_t measure_every_steps = 0;
  /// See EarlyStopping.
  int64_t stop_when_no_better = 0;
};

class DistillTrainer {
 public:
  /// All arguments must outlive the trainer.
  DistillTrainer(DistillSettings settings, Student& student, const Model& teacher, const TokenWindows& windows,
                 Communicator& communicator, WorkerLink& link, at::Device device);

  /// Reads the teacher's states from `states`, and stores new ones there. It must outlive the trainer.
  void KeepTeacherStates(TeacherStates& states) { teacher_states_ = &states; }

  /// Makes the teacher lend its blocks from `slices`, without kept states. Must outlive it.
  void FetchTeacher(SlicedBlocks& slices);

  /// Measures the student on the first `count` windows, which must outlive the trainer.
  void MeasureOn(const TokenWindows& windows, int64_t count) {
    measured_windows_ = &windows;
    measured_count_ = count;
  }

  /// Tells the leader how many seconds earlier attempts needed for the steps up to `step`; call before Resume.
  void CountEarlierSteps(int64_t step, double seconds) { useful_seconds_at_[step] = seconds; }
  /// Continues after the checkpoint's step.
  absl::Status Resume(const TrainingCheckpoint& checkpoint);

  /// Runs the remaining steps, or those until measurements no longer improve. A step without finite gradients on every
  /// rank is skipped: it changes nothing. After ten such steps in a row training returns to its last checkpoint, once,
  /// and repeats the steps, which recovers from a transient fault in the state; INTERNAL if that does not help or there
  /// is no checkpoint. If the job is paused, writes a checkpoint and returns before the last step.
  absl::Status Run();
  /// Returns true if Run returned because the job is paused; the same on every rank.
  bool is_paused() const { return is_paused_; }

  /// See ShardedAdamW.
  int64_t StateBytes() const { return optimizer_.StateBytes(); }
  int64_t GradientBytes() const { return optimizer_.GradientBytes(); }

 private:
  struct StepFigures {
    double loss = 0;
    double gradient_norm = 0;
    double seconds = 0;
    double collective_seconds = 0;
    /// True if rank 0 knew before the step ended that the job is paused; the same on every rank.
    bool is_pausing = false;
    /// Belong to the step before.
    std::optional<RankTimes::Figures> ranks;
  };

  void FetchFrom(SlicedBlocks& slices);
  absl::StatusOr<StepFigures> RunStep(int64_t step);
  /// Returns the gate values; undefined when every gate is closed. Differentiable; each micro-batch gets its own graph.
  at::Tensor GateValuesAt(int64_t step);
  /// Returns the teacher's states of the windows, [windows x positions, hidden size of the teacher]. With an
  /// attention_weight, fills `branches` with what its attention layers add.
  absl::StatusOr<at::Tensor> TeacherHidden(const MicroBatch& batch, std::vector<at::Tensor>& branches);
  /// Returns the loss over the tokens that it covers. `answers` is the number of answer tokens on all ranks.
  at::Tensor LossOf(const Model& model, at::Tensor hidden, at::Tensor teacher_hidden, const MicroBatch& batch,
                    int64_t answers) const;
  /// Runs one micro-batch with its backward pass and returns its share of the step's mean loss, a float64 scalar on the
  /// device.
  absl::StatusOr<at::Tensor> RunMicroBatch(int64_t step, const MicroBatch& batch, int64_t answers);
  /// Runs all of this rank's micro-batches and returns their share of the step's mean loss.
  absl::StatusOr<at::Tensor> RunMicroBatches(int64_t step);
  void AddSparsityGradient(int64_t step);
  /// Returns the time for which this rank has waited for collectives.
  double WaitedSeconds() const;
  void Publish(int64_t step, const StepFigures& figures);
  void PublishRanks(int64_t step, const RankTimes::Figures& ranks);
  void PublishGates(int64_t step);
  void CountSkipped(double gradient_norm);
  absl::Status GoBack();
  /// Returns true after the last step.
  bool IsOver() const { return done_ >= settings_.steps || early_stopping_.stops(); }
  bool IsMeasurementDue() const;
  /// Measures the student's perplexity on all ranks and decides by it whether training ends early. Measurements change
  /// nothing that trains. While gates are open it is that of the student with its gates as they are, without noise,
  /// which does not decide.
  absl::Status Measure();
  /// Returns the perplexity that the leader has.
  absl::StatusOr<double> Agree(double perplexity);
  bool IsSaveDue() const;
  /// Waits for the previous save, starts a new one, and reports how long training was blocked.
  absl::Status BeginSave(int64_t steps_done);
  /// Called once per step: reports a save that has completed.
  absl::Status ContinueSave();
  absl::Status FinishSave();
  /// Ends training with a checkpoint of the current step.
  absl::Status Pause();
  void NoteSaved(const CheckpointSaver::Saved& saved);

  DistillSettings settings_;
  Student& student_;
  const Model& teacher_;
  const TokenWindows& windows_;
  Communicator& communicator_;
  WorkerLink& link_;
  at::Device device_;
  RateSchedule rate_;
  SparsitySchedule sparsity_;
  ShardedAdamW optimizer_;
  TeacherStates* teacher_states_ = nullptr;
  const TokenWindows* measured_windows_ = nullptr;
  int64_t measured_count_ = 0;
  EarlyStopping early_stopping_{settings_.stop_when_no_better};
  std::optional<FrozenLender> teacher_lender_;
  CheckpointSaver saver_{settings_.checkpoints, communicator_};
  int64_t done_ = 0;
  int64_t skipped_ = 0;
  int64_t skipped_in_row_ = 0;
  std::optional<TrainingCheckpoint> last_checkpoint_;
  bool went_back_ = false;
  bool is_paused_ = false;
  /// See kUsefulSeconds.
  double useful_seconds_ = 0;
  /// The same at each step from which training may go on.
  std::map<int64_t, double> useful_seconds_at_;
  /// Angles of the windows' positions, the same for teacher and student; undefined if they have none.
  std::vector<RotaryTable> rotary_;
  at::Tensor gate_noise_;
  int64_t step_of_gate_noise_ = -1;
  RankTimes rank_times_{communicator_.rank(), communicator_.size()};
  BatchReader reader_;
};

}  // namespace regroup
