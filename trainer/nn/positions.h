// Computes position information for attention: rotary angles, and biases on the attention logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "trainer/nn/model_config.h"
#include "trainer/nn/rotary.h"
#include "trainer/nn/sequence_attention.h"

namespace regroup {

struct PositionTables {
  RotaryTable rotary;
  /// Added to the logits of each head, [1, H or 1, T, tokens read], float32; minus infinity where a token may not
  /// attend. Undefined if plain causal attention is sufficient.
  at::Tensor bias;
  /// Used without a bias: if true, a token sees only itself and earlier tokens.
  bool causal = true;
  /// If set, attention is within these sequences, and `bias` is undefined.
  std::optional<SequenceLayout> sequences = {};
};

/// Returns the bias of causal attention of `tokens` tokens that follow `first` others and also read those, [1, 1,
/// tokens, first + tokens], float32: 0 where a token may attend, minus infinity elsewhere. A window of 0 tokens means
/// all.
at::Tensor CausalBias(int64_t first, int64_t tokens, int64_t window, at::Device device);

/// Returns the bias of tokens that see those at most `window` tokens away, in both directions, [1, 1, tokens, tokens].
at::Tensor WindowBias(int64_t tokens, int64_t window, at::Device device);

/// Returns SinusoidalConfig's positions of the tokens at `places` [...], int64: [..., D], float32.
at::Tensor SinusoidalPositions(const at::Tensor& places, const ModelConfig& config);

/// Returns the angles of `tokens` positions for each of the model's kinds of attention.
std::vector<RotaryTable> MakeRotaryTables(const ModelConfig& config, int64_t tokens, at::Device device,
                                          at::ScalarType dtype = at::kFloat);

/// Returns PositionTables::bias of `tokens` tokens that follow `first` others and also read those, in layers of one
/// kind of attention.
at::Tensor MakePositionBias(const ModelConfig& config, const AttentionKind& kind, int64_t first, int64_t tokens,
                            at::Device device);

/// Returns T5's bias of `tokens` tokens of one stack that follow `first` others and also read those, [1, heads, tokens,
/// first + tokens], float32, from its table [buckets, heads]; differentiable. In a bidirectional stack half of the
/// buckets are for keys after the query; otherwise those keys get minus infinity.
at::Tensor RelativePositionBias(const at::Tensor& table, const RelativeBiasConfig& config, int64_t first,
                                int64_t tokens, bool bidirectional);

/// Returns `bias` (undefined: plain causal attention) with minus infinity where two tokens belong to different
/// documents, which are given as int64 [B, T]. Result: [B, 1 or H, T, T].
at::Tensor WithinDocuments(const at::Tensor& bias, const at::Tensor& documents_BT);

/// Returns each token's position in its document, counted from 0, int64 [B, T]. The tokens of a document are
/// consecutive.
at::Tensor PlacesInDocuments(const at::Tensor& documents_BT);

/// Returns the bias of attention whose heads are in `head_order` (see AttentionProjections); undefined if there is
/// none.
at::Tensor AttentionBias(const PositionTables& positions, const at::Tensor& head_order);

/// Returns the slope of each head, float32 [heads]: powers of 2^(-8/n) for n a power of two, filled up from the next
/// one as in the paper's code (Press et al., 2021).
at::Tensor AlibiSlopes(int64_t heads);

}  // namespace regroup
