// Implements the forward pass as plain functions over a Model's weights, on one device, without communication.
// Differentiable if the weights require gradients; deterministic on CPU for a fixed number of threads.
//
// Legend of shapes: B sequences, T tokens, D hidden size, H heads, G KV heads, d head width, V vocabulary.
#pragma once

#include <functional>

#include "trainer/nn/attention.h"
#include "trainer/nn/key_value_cache.h"
#include "trainer/nn/model.h"
#include "trainer/nn/positions.h"

namespace regroup {

/// The cache in which a layer keeps its keys and values; without one, attention is over the given tokens only.
struct CachedLayer {
  KeyValueCache* cache = nullptr;
  int64_t layer = 0;

  /// Returns true for cross attention whose keys and values are in the cache (KeepMemory).
  bool HasMemory(const ModelConfig& config) const {
    return cache != nullptr && config.Role(layer) == AttentionRole::kCross;
  }
};

/// Applies the model's kind of norm to the last axis, in float32; the result has the dtype of `x`.
at::Tensor Normalise(const at::Tensor& x, const Norm& norm, const ModelConfig& config);

/// Returns x weight^T + bias.
at::Tensor Project(const at::Tensor& x, const Linear& linear);

/// Inputs of attention: queries come from `query`, keys and values from `memory`; both are the same tensor except in
/// cross attention.
struct AttentionInputs {
  at::Tensor query;   // [B, T, D]
  at::Tensor memory;  // [B, tokens read, D]
};

/// Adds the keys and values as the projections return them, before head norms and rotation.
struct AttentionRows : AttentionInputs {
  /// True for rows of `query` that are of tokens (WindowRunner::Counted), boolean [B, T]; undefined if all are.
  at::Tensor counted = {};
  at::Tensor keys = {};    // [B, tokens read, G d]
  at::Tensor values = {};  // [B, tokens read, G d]
};
AttentionRows RowsOfAttention(const AttentionInputs& inputs, const AttentionProjections& weights);

/// Splits the projected rows into heads, normalises and rotates them. Without keys and values the heads have none.
AttentionHeads HeadsOfAttention(const AttentionRows& rows, const AttentionProjections& weights,
                                const ModelConfig& config, const PositionTables& positions);

/// Returns [B, heads, T, d] as [B, T, heads x d].
at::Tensor JoinHeads(const at::Tensor& heads);

/// Returns the concatenated head outputs before the output projection, [B, T, H d]. The keys determine the number of KV
/// heads; query head j reads KV head j / (H / G). With a cache the tokens follow those in it, and `positions` are
/// theirs.
at::Tensor AttendHeads(const AttentionRows& rows, const AttentionProjections& weights, const ModelConfig& config,
                       const PositionTables& positions, const CachedLayer& cached = {});

/// Runs a feed-forward or a mixture of experts, whose experts run one after the other on the tokens that chose them.
at::Tensor RunFeedForward(const at::Tensor& x_BTD, const FeedForward& weights, const ModelConfig& config);

/// Returns the attention inputs that a block computes from its own input; `memory` is the encoder's output in cross
/// attention, and undefined elsewhere.
AttentionInputs InputsOfAttention(const at::Tensor& x_BTD, const at::Tensor& memory, const Block& block,
                                  const ModelConfig& config);

/// Returns what the attention adds to the residual stream, from the head outputs [B, T, H d].
at::Tensor AttentionBranch(const at::Tensor& heads, const Block& block, const ModelConfig& config);

/// The inputs of a block other than its hidden states.
struct BlockContext {
  const PositionTables& positions;
  /// See InputsOfAttention.
  at::Tensor memory = {};
  /// If set, it is called with the inputs of attention.
  std::function<void(const AttentionRows&)> observer = {};
  /// If set, it is called with AttentionBranch, [B, T, D].
  std::function<void(const at::Tensor&)> branch_observer = {};
  CachedLayer cached = {};
  bool recompute_feed_forward = false;
};

/// Runs one block in the order of the model's BlockLayout.
at::Tensor RunBlock(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config,
                    const BlockContext& context);

/// Returns the input of the first block, [B, T, D], for tokens at positions from `first` on, or at places_BT (int64).
at::Tensor Embed(const Model& model, const at::Tensor& tokens_BT, int64_t first = 0);
at::Tensor Embed(const Model& model, const at::Tensor& tokens_BT, const at::Tensor& places_BT);
/// Returns that of an encoder, whose entries of a window may be a spectrogram (ModelConfig::EncoderInputs).
at::Tensor EmbedForEncoder(const Model& model, const at::Tensor& tokens_BT);

/// Returns the tables of an encoder that reads `tokens` tokens, for each kind of attention. Tokens see one another in
/// both directions, within a window those that are at most so far away.
std::vector<PositionTables> EncoderPositions(const Model& model, int64_t tokens, at::Device device);

/// Runs the encoder, and puts the keys and values that each cross attention computes from its output into `cache`. No
/// gradients.
void RunCachedEncoder(const Model& model, const at::Tensor& tokens_BT, KeyValueCache& cache);

/// Returns the hidden states after the last norm, [B, T, D], of tokens that follow those in `cache`, and adds them to
/// the cache. In an encoder-decoder these are the decoder's tokens, after RunCachedEncoder. No gradients.
at::Tensor RunCachedHiddenStates(const Model& model, const at::Tensor& tokens_BT, KeyValueCache& cache);

/// Converts the last block's output to the states that the output projection reads, or an encoder's to its output.
at::Tensor FinalStates(const at::Tensor& x_BTD, const Model& model);
at::Tensor EncoderOutput(const at::Tensor& x_BTD, const Model& model);

/// Returns the logits [..., V] of hidden states [..., D], soft-capped if the model does so.
at::Tensor RunOutputProjection(const Model& model, const at::Tensor& hidden);

}  // namespace regroup
