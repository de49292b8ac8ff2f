// Trains the attention of one merged layer alone: it learns to add to the residual stream what the source's layer adds,
// for the source's own inputs (README.md here has the equations).
//
// The loss of a step is L_out + c L_map. L_out is the squared error of the attention's output, divided by the variance
// of the source's output over all tokens. L_map is the mean divergence of the attention probabilities, and c is
// map_weight in the first 40 % of the steps and 0 afterwards, where fused attention serves. Projections, their biases,
// and norms of queries and keys are trained; everything else stays the source's.
//
// A step depends only on its number, the seed and the weights, so that training continues from a checkpoint with the
// same bits. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layerwise/residual_streams.h"
#include "trainer/layerwise/source_pass.h"
#include "trainer/nn/model.h"
#include "trainer/optim/schedule.h"
#include "trainer/optim/sharded_adamw.h"
#include "trainer/parallel/communicator.h"
#include "trainer/training/training_checkpoint.h"

namespace regroup {

struct LayerSettings {
  int64_t passes = 2;
  /// Sequences in one step.
  int64_t batch_sequences = 2;
  double learning_rate = 1e-3;
  double map_weight = 1.0;
  uint64_t seed = 0;
  /// Folder of this layer's checkpoints; empty: none are written.
  std::filesystem::path checkpoints;
  /// Time between checkpoints.
  double checkpoint_every_s = 60;
};

/// The source's part in the training of a layer. All pointers must outlive the distiller.
struct LayerLesson {
  int64_t layer = 0;
  const SourcePass* pass = nullptr;
  /// The source's block, in the type and on the device of the pass.
  const Block* source = nullptr;
  /// The source's query head at each place of the merged layer.
  std::vector<int64_t> head_order;
  /// The source's residual streams before the layer, and what its attention adds to them.
  const ResidualStreams* inputs = nullptr;
  const ResidualStreams* targets = nullptr;
  /// BranchMoments::Variance of the targets; above 0.
  double variance = 1;
};

class LayerDistiller {
 public:
  struct StepFigures {
    int64_t step = 0;
    int64_t steps = 0;
    double loss = 0;
    double gradient_norm = 0;
    double learning_rate = 0;
    double seconds = 0;
    int64_t tokens = 0;
  };
  using Publish = std::function<void(const StepFigures&)>;

  /// `merged` is the layer after merging; its attention is copied.
  LayerDistiller(LayerSettings settings, LayerLesson lesson, const Block& merged, Publish publish);

  LayerDistiller(const LayerDistiller&) = delete;
  LayerDistiller& operator=(const LayerDistiller&) = delete;

  /// Returns E |a' - a|^2 on the windows that training does not read, divided by LayerLesson::variance, which is that
  /// of all windows. A single window is trained on and measured.
  absl::StatusOr<double> Error() const;

  /// Continues after the checkpoint's step.
  absl::Status Resume(const TrainingCheckpoint& checkpoint);

  /// Runs the remaining steps. FAILED_PRECONDITION if ten gradients in a row were not finite.
  absl::Status Run();

  int64_t steps() const { return steps_; }
  /// The layer with its attention as trained so far, in the precision of the pass.
  const Block& block() const { return block_; }
  /// Returns the same with the float32 weights of the attention, which a pass in bfloat16 rounds.
  Block Trained() const;

 private:
  /// Returns the share of the step's loss that these windows have, some of the `of_step` that the step reads;
  /// differentiable.
  absl::StatusOr<at::Tensor> LossOf(const std::vector<int64_t>& windows, int64_t of_step, bool with_map) const;
  /// Returns the source's streams before the layer, and what its attention adds to them in float32.
  absl::StatusOr<at::Tensor> Inputs(const std::vector<int64_t>& windows) const;
  absl::StatusOr<at::Tensor> Targets(const std::vector<int64_t>& windows) const;
  at::Tensor Branch(const AttentionRows& rows, at::Tensor* divergence, double weight) const;
  /// Returns the inputs of the layer in training. AttentionRows::counted is set.
  AttentionRows RowsOf(const at::Tensor& streams) const;
  std::vector<int64_t> WindowsOfStep(int64_t step) const;
  absl::StatusOr<StepFigures> RunStep();
  absl::Status SaveIfDue();

  LayerSettings settings_;
  LayerLesson lesson_;
  Publish publish_;
  /// Windows that are trained on, and after them those that only measure the error.
  int64_t trained_windows_ = 0;
  int64_t measured_windows_ = 0;
  int64_t steps_ = 0;
  /// Every window once per pass, in the order in which steps read them.
  std::vector<int64_t> order_;
  Block block_;
  std::unique_ptr<Communicator> alone_;
  std::unique_ptr<ShardedAdamW> optimizer_;
  RateSchedule rate_;
  int64_t done_ = 0;
  int64_t skipped_in_row_ = 0;
};

}  // namespace regroup
