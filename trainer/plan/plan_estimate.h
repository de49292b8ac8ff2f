// Estimates a job's cost from the model's shapes alone. Pure.
//
// Symbols: P parameters, D hidden size, A = heads x width, K = KV heads x width, I feed-forward width, V vocabulary, n
// tokens of a micro-batch, R ranks, e bytes of an element in training.
#pragma once

#include <cstdint>

#include "trainer/nn/model_config.h"
#include "trainer/nn/window_runner.h"

namespace regroup {

/// The part of training's state of which a rank keeps only its slice: ZeRO stages 1, 2 and 3.
enum class Sharding { kOptimizer, kGradients, kAll };

struct PlannedTraining {
  /// Number of KV heads of the result.
  int64_t kv_heads = 0;
  bool gated = false;
  int64_t ranks = 1;
  int64_t micro_batch_tokens = 0;
  int64_t sequence_length = 0;
  int64_t element_bytes = 4;
  /// True if gradients of several micro-batches are summed in float32, apart from those of the last one.
  bool sums_apart = false;
  Sharding sharding = Sharding::kOptimizer;
  /// With kAll: blocks of one model whose weights are whole at once, the one that is computed and those fetched ahead.
  int64_t whole_blocks = 1;
  /// True if the state is copied before it is written to a checkpoint.
  bool writes_checkpoints = false;
  bool attention_only = false;
  /// If above 0, only adapters of this rank and the shared heads train.
  int64_t adapter_rank = 0;
  /// True if the loss compares what the attention layers add.
  bool compares_attention = false;
  /// See SetSharding.
  Recompute recompute = Recompute::kNothing;
  /// Tokens whose logits exist together.
  int64_t loss_chunk_tokens = 256;
  /// Tokens that pass together when the student is measured between two steps; 0 if it is not.
  int64_t measured_tokens = 0;
};

/// The part of a layerwise task that memory and operations depend on.
struct PlannedLayers {
  /// Number of KV heads of the result.
  int64_t kv_heads = 0;
  int64_t sequence_length = 0;
  /// Sequences that pass through a layer of the source together, and those whose gradients are computed together.
  int64_t sequences_at_once = 1;
  int64_t sequences_in_training = 1;
  int64_t element_bytes = 4;
  /// True if the divergence of attention probabilities is part of the loss.
  bool with_map = true;
};

/// Returns the number of copies into which each KV head is split for this target, 1 if it divides their number
/// (split_heads.h). The heads of layers with unequal numbers are never split.
int64_t CopiesForTarget(const ModelConfig& config, int64_t kv_heads);

/// Returns the number of parameters of the model with another number of KV heads.
int64_t ParametersWith(const ModelConfig& config, int64_t parameters, int64_t kv_heads);

/// Returns the floating-point operations of one token's forward pass: 2 for every weight of a matrix product, and
/// attention over `sequence_length` tokens, of which each token reads half on average.
double ForwardFlops(const ModelConfig& config, int64_t kv_heads, int64_t sequence_length);

/// Returns the floating-point operations of one token in training: the teacher's forward pass, the student's, and its
/// backward pass, which costs twice as much. A gated student has all of the source's KV heads.
double TrainingFlops(const ModelConfig& config, int64_t kv_heads, bool gated, int64_t sequence_length);

/// Bytes that one rank of fine-tuning holds beside the program itself and the mapped source, on its GPU if it has one:
///   student   e P' (flat weights) + e P' (gradients) + e P' / R (its shard) + 8 P' / R (moments), and 4 P' / R of
///   master
///             weights where e is not 4; P' counts the original KV heads too while gates are open
///             With `sums_apart` 4 P' more; with kGradients, gradients and their sums are 4 P' / R, and e + 4 + 4 / R
///             for each entry of the bucket that is being summed; with kAll the blocks' weights are e P' / R too, and
///             whole for `whole_blocks` of them; with `attention_only` P' is the attention's
///             alone. With adapters of rank r, P' is that of the shared heads and of r (in + out) a map; beside it
///             there are the converted queries and outputs, the original KV heads while gates are open, and each
///             adapted weight, e bytes an entry.
///   teacher   e P; with kAll of its blocks a slice
///   backward  n e (6 D + 5 A + 4 I) a layer (2 I without a gate), the mixed weights of gates, and the chunks of the
///             loss. Recomputing feed-forwards keeps no I, recomputing blocks one D a layer, but of one layer all.
///   measured  between two steps, in place of the backward pass: the activations of one layer, and a chunk of logits
double TrainingBytes(const ModelConfig& config, int64_t parameters, const PlannedTraining& training);

/// Returns the bytes of the copies that a rank writes to a checkpoint while training goes on: 12 P' / R, on the host.
double CheckpointCopyBytes(const ModelConfig& config, int64_t parameters, const PlannedTraining& training);

/// Returns the bytes that calibration takes beside the sums over tokens, in float32: a block and streams of the same
/// size, the embeddings, and the activations of `tokens` that pass together.
double CalibrationBytes(const ModelConfig& config, double tokens);

/// Returns the bytes of the activations that a forward pass holds in one layer while its attention is observed, in
/// float32.
double ForwardBytes(const ModelConfig& config, double tokens);

/// Returns the bytes that a layerwise task holds beside the program: one block of the source, the merged attention with
/// its gradients and the optimizer's state (e elements, 20 bytes a weight in float32), and for the sequences that pass
/// together their activations: 2 matrices of attention probabilities a head while they are part of the loss, or those
/// of the source's feed-forward.
double LayerwiseBytes(const ModelConfig& config, const PlannedLayers& planned);

/// Returns the floating-point operations of one token in one pass over all layers of layerwise distillation: the
/// forward and the backward pass of each merged attention, and the source's probabilities in 40 % of the steps.
double LayerwiseFlops(const ModelConfig& config, const PlannedLayers& planned);

/// The part of an evaluation that memory depends on.
struct PlannedEvaluation {
  /// Number of KV heads of the result.
  int64_t kv_heads = 0;
  /// Bytes of an element of weights and activations.
  int64_t element_bytes = 4;
  /// Tokens of a window of evaluation.perplexity, and of those that pass through the model together; 0 without it.
  int64_t window_tokens = 0;
  int64_t tokens_at_once = 0;
  /// Sequences and tokens of each in the largest cache of evaluation.latency; 0 without it.
  int64_t cached_sequences = 0;
  int64_t cached_tokens = 0;
  /// True if source, result and averaged model decode in turns.
  bool in_turns = true;
};

/// Returns the bytes that evaluating the result takes, on the GPU if there is one: one model at a time with the logits
/// of a window, beside the result the source's output projection; for latency each model with its cache, together if
/// they decode in turns.
double EvaluationBytes(const ModelConfig& config, int64_t parameters, const PlannedEvaluation& evaluation);

}  // namespace regroup
