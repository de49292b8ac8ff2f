// What attention knows about positions: rotary angles, and biases on the attention logits.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/model_config.h"
#include "trainer/nn/rotary.h"

namespace regroup {

struct PositionTables {
  RotaryTable rotary;
  /// Added to the logits of each head, [1, H or 1, T, tokens read], float32; minus infinity where a token may not look.
  /// Undefined where plain causal attention says it all.
  at::Tensor bias;
  /// Without a bias: whether a token sees only itself and what came before.
  bool causal = true;
};

PositionTables MakePositionTables(const ModelConfig& config, int64_t tokens, at::Device device);

/// PositionTables::bias of `tokens` tokens that follow `first` others, which they read too.
at::Tensor MakePositionBias(const ModelConfig& config, int64_t first, int64_t tokens, at::Device device);

/// T5's bias of one stack, [1, heads, tokens, tokens], float32, from its table [buckets, heads]; differentiable. In a
/// bidirectional stack half of the buckets are for keys behind the query; otherwise those are minus infinity.
at::Tensor RelativePositionBias(const at::Tensor& table, const RelativeBiasConfig& config, int64_t tokens,
                                bool bidirectional);

/// `bias` (undefined: plain causal attention) and minus infinity where the tokens are of different documents, given as
/// int64 [B, T]: [B, 1 or H, T, T].
at::Tensor WithinDocuments(const at::Tensor& bias, const at::Tensor& documents_BT);

/// Each token's place in its document, counted from 0, int64 [B, T]. A document's tokens follow one another.
at::Tensor PlacesInDocuments(const at::Tensor& documents_BT);

/// The bias of attention whose heads stand in `head_order` (see AttentionProjections); undefined where there is none.
at::Tensor AttentionBias(const PositionTables& positions, const at::Tensor& head_order);

/// Slope of each head, float32 [heads]: powers of 2^(-8/n) for n a power of two, filled up from the next one as the
/// paper's code does (Press et al., 2021).
at::Tensor AlibiSlopes(int64_t heads);

}  // namespace regroup
