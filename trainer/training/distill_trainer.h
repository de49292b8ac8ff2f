// The training loop of fine-tuning: the student follows the teacher's next-token distribution on every token, or the
// teacher's largest logits on the tokens of answers.
//
// What a step does depends on the step's number, the seed and the weights alone: the order of the data, the noise of
// the gates and the learning rate are functions of the step, so that a run continues from a checkpoint as if it had
// never stopped. All ranks run it together; each takes its slice of every batch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

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
#include "trainer/training/gates.h"
#include "trainer/training/student.h"
#include "trainer/training/training_checkpoint.h"

namespace regroup {

/// See kl_loss.h and bild_loss.h. Bild wants windows with answers.
enum class DistillLoss { kKl, kBild };

struct DistillSettings {
  int64_t steps = 0;
  /// Sequences of one step over all ranks; a multiple of ranks x micro_batch_sequences.
  int64_t batch_sequences = 0;
  int64_t micro_batch_sequences = 1;
  double learning_rate = 1e-5;
  /// See TrainingFlops.
  double flops_per_token = 0;
  /// Of all ranks together, where it is known.
  std::optional<double> peak_flops_per_second;
  uint64_t seed = 0;
  /// 0 writes none.
  int64_t checkpoint_every_steps = 0;
  std::filesystem::path checkpoints;
  Recompute recompute = Recompute::kNothing;
  /// Whether attention reaches over the ends of documents.
  bool across_documents = true;
  /// Sums gradients over ranks beside the backward pass. The same bits either way.
  bool overlap = true;
  DistillLoss loss = DistillLoss::kKl;
};

class DistillTrainer {
 public:
  /// Everything given must outlive the trainer.
  DistillTrainer(DistillSettings settings, Student& student, const Model& teacher, const TokenWindows& windows,
                 Communicator& communicator, WorkerLink& link, at::Device device);

  /// Takes the teacher's states from there, and puts them there. Must outlive the trainer.
  void KeepTeacherStates(TeacherStates& states) { teacher_states_ = &states; }

  /// Continues after the checkpoint's step.
  absl::Status Resume(const TrainingCheckpoint& checkpoint);

  /// Runs the remaining steps. A step without a finite gradient on every rank is skipped: it changes nothing. After ten
  /// in a row training goes back to its last checkpoint, once, and repeats the same steps, which heals what a passing
  /// fault left in the state; INTERNAL if that does not help or there is no checkpoint.
  absl::Status Run();

 private:
  struct StepFigures {
    double loss = 0;
    double gradient_norm = 0;
    double seconds = 0;
    double collective_seconds = 0;
  };

  absl::StatusOr<StepFigures> RunStep(int64_t step);
  /// Undefined when every gate is shut. Differentiable; a graph of its own for each micro-batch.
  at::Tensor GateValuesAt(int64_t step) const;
  /// The teacher's states of the windows, [windows x positions, its hidden size].
  absl::StatusOr<at::Tensor> TeacherHidden(const MicroBatch& batch);
  /// Of the tokens that the loss is over. `answers` are those of all ranks.
  at::Tensor LossOf(const Model& model, at::Tensor hidden, at::Tensor teacher_hidden, const MicroBatch& batch,
                    int64_t answers) const;
  /// Backward of one micro-batch; its share of the step's mean loss.
  absl::StatusOr<double> RunMicroBatch(int64_t step, const MicroBatch& batch, int64_t answers);
  /// All of this rank's micro-batches; their share of the step's mean loss.
  absl::StatusOr<double> RunMicroBatches(int64_t step);
  void AddSparsityGradient(int64_t step);
  /// Time so far for which this rank has waited for collectives.
  double WaitedSeconds() const;
  void Publish(int64_t step, const StepFigures& figures);
  void CountSkipped(double gradient_norm);
  absl::Status GoBack();
  bool IsSaveDue() const;
  /// Waits for the save before, then starts one and reports how long training stood still.
  absl::Status BeginSave(int64_t steps_done);
  /// Once a step: reports a save that has been completed.
  absl::Status ContinueSave();
  absl::Status FinishSave();
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
  CheckpointSaver saver_{settings_.checkpoints, communicator_};
  int64_t done_ = 0;
  int64_t skipped_ = 0;
  int64_t skipped_in_row_ = 0;
  std::optional<TrainingCheckpoint> last_checkpoint_;
  bool went_back_ = false;
  BatchReader reader_;
};

}  // namespace regroup
