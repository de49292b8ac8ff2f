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

/// Concatenated head outputs before the output projection, [B, T, H d], of causal attention over x_BTD. The number of
/// KV heads follows from the key's weight; query head j reads KV head j / (H / G). With a cache the tokens follow those
/// in it, and `positions` are theirs.
at::Tensor AttendHeads(const at::Tensor& x_BTD, const AttentionProjections& weights, const ModelConfig& config,
                       const PositionTables& positions, const CachedLayer& cached = {});

at::Tensor RunFeedForward(const at::Tensor& x_BTD, const FeedForward& weights, Activation activation);

/// What the attention of a block sees of the block's input.
at::Tensor AttentionInput(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config);

/// One block, by the model's BlockLayout. `attention_input`, if set, sees what AttentionInput gives.
at::Tensor RunBlock(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config,
                    const PositionTables& positions, const std::function<void(const at::Tensor&)>& attention_input = {},
                    const CachedLayer& cached = {});

/// The input of the first block, [B, T, D], of tokens that stand from position `first` on.
at::Tensor Embed(const Model& model, const at::Tensor& tokens_BT, int64_t first = 0);

/// Sees the input of each layer's attention, [B, T, D].
using AttentionInputObserver = std::function<void(int64_t layer, const at::Tensor& x_BTD)>;

/// Hidden states after the final normalisation, [B, T, D], of tokens_BT (int64).
at::Tensor RunHiddenStates(const Model& model, const at::Tensor& tokens_BT,
                           const AttentionInputObserver& observer = {});

/// The same of tokens that follow those in `cache`, which then holds them too. No gradients.
at::Tensor RunCachedHiddenStates(const Model& model, const at::Tensor& tokens_BT, KeyValueCache& cache);

/// Logits [..., V] of hidden states [..., D].
at::Tensor RunOutputProjection(const Model& model, const at::Tensor& hidden);

}  // namespace regroup
