// The forward pass: plain functions over a Model's weights, on one device, without communication. Differentiable
// where the weights require gradients; deterministic on CPU for a fixed number of threads.
//
// Legend of shapes: B sequences, T tokens, D hidden size, H heads, G KV heads, d head width, V vocabulary.
#pragma once

#include <functional>

#include "trainer/nn/key_value_cache.h"
#include "trainer/nn/model.h"
#include "trainer/nn/positions.h"

namespace regroup {

/// Where a layer keeps its keys and values; without a cache, attention is over the given tokens alone.
struct CachedLayer {
  KeyValueCache* cache = nullptr;
  int64_t layer = 0;
};

/// The model's kind of norm over the last axis, in float32, result in the dtype of `x`.
at::Tensor Normalise(const at::Tensor& x, const Norm& norm, const ModelConfig& config);

/// x weight^T + bias.
at::Tensor Project(const at::Tensor& x, const Linear& linear);

/// What attention is computed from: queries of the one, keys and values of the other; both are the same tensor except
/// in cross attention.
struct AttentionInputs {
  at::Tensor query;   // [B, T, D]
  at::Tensor memory;  // [B, tokens read, D]
};

/// The same with its keys and values as the projections give them, before norms of heads and rotation.
struct AttentionRows : AttentionInputs {
  at::Tensor keys;    // [B, tokens read, G d]
  at::Tensor values;  // [B, tokens read, G d]
};
AttentionRows RowsOfAttention(const AttentionInputs& inputs, const AttentionProjections& weights);

/// Concatenated head outputs before the output projection, [B, T, H d]. The number of KV heads follows from the keys;
/// query head j reads KV head j / (H / G). With a cache the tokens follow those in it, and `positions` are theirs.
at::Tensor AttendHeads(const AttentionRows& rows, const AttentionProjections& weights, const ModelConfig& config,
                       const PositionTables& positions, const CachedLayer& cached = {});

at::Tensor RunFeedForward(const at::Tensor& x_BTD, const FeedForward& weights, Activation activation);

/// What the attention of a block sees of the block's input; `memory` is the encoder's output in cross attention, and
/// undefined elsewhere.
AttentionInputs InputsOfAttention(const at::Tensor& x_BTD, const at::Tensor& memory, const Block& block,
                                  const ModelConfig& config);

/// What a block reads beside its input.
struct BlockContext {
  const PositionTables& positions;
  /// See InputsOfAttention.
  at::Tensor memory = {};
  /// If set, sees what attention is computed from.
  std::function<void(const AttentionRows&)> observer = {};
  CachedLayer cached = {};
  bool recompute_feed_forward = false;
};

/// One block, by the model's BlockLayout.
at::Tensor RunBlock(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config,
                    const BlockContext& context);

/// The input of the first block, [B, T, D], of tokens that stand from position `first` on, or at places_BT (int64).
at::Tensor Embed(const Model& model, const at::Tensor& tokens_BT, int64_t first = 0);
at::Tensor Embed(const Model& model, const at::Tensor& tokens_BT, const at::Tensor& places_BT);

/// Hidden states after the last norm, [B, T, D], of tokens that follow those in `cache`, which then holds them too. No
/// gradients.
at::Tensor RunCachedHiddenStates(const Model& model, const at::Tensor& tokens_BT, KeyValueCache& cache);

/// The states that the output projection reads, of the last block's output.
at::Tensor FinalStates(const at::Tensor& x_BTD, const Model& model);

/// Logits [..., V] of hidden states [..., D].
at::Tensor RunOutputProjection(const Model& model, const at::Tensor& hidden);

}  // namespace regroup
