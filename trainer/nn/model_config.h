// The shape of a model and the choices that its family makes, read from config.json by trainer/families.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace regroup {

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

enum class NormKind {
  /// x / rms(x) * w
  kRms,
  /// x / rms(x) * (1 + w), Gemma's
  kRmsPlusOne,
  /// (x - mean) / deviation * w + b; OLMo has neither w nor b
  kLayer,
};

/// How a block combines attention A and feed-forward F; N1 and N2 are its norms.
enum class BlockLayout {
  /// y = x + A(N1 x), then y + F(N2 y)
  kSequential,
  /// x + A(N1 x) + F(N1 x), as in GPT-J and Phi
  kParallel,
  /// x + A(N1 x) + F(N2 x), as in GPT-NeoX
  kParallelTwoNorms,
  /// y = x + N1 A(x), then y + N2 F(y), as in OLMo 2
  kNormAfter,
};

/// A norm on queries and keys before rotation. It is not linear, so that fewer maps leave the model unchanged.
enum class QueryKeyNorm {
  kNone,
  /// Each head by itself, one weight [head width] for all heads, as in Qwen3.
  kPerHead,
  /// All heads together, weight [heads x head width], as in OLMo 2.
  kAllHeads,
};

/// Rotary position embedding. `inverse_frequencies` already contain any scaling of the frequencies (linear, llama3,
/// yarn).
struct RotaryConfig {
  /// Leading entries of each head that rotate; the head's width for full rotation, 0 for none.
  int64_t width = 0;
  /// Pairs are (2t, 2t+1) as in GPT-J; otherwise (t, t + width/2).
  bool interleaved = false;
  /// One per pair.
  std::vector<double> inverse_frequencies;
  /// Factor on every cosine and sine (yarn); 1 otherwise.
  double magnitude = 1.0;
};

struct ModelConfig {
  std::string family;
  int64_t hidden_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  /// Of every layer; of layers with unequal numbers the largest, see kv_heads_of_layers.
  int64_t kv_heads = 0;
  /// KV heads of each layer where they are not the same everywhere; empty otherwise.
  std::vector<int64_t> kv_heads_of_layers;
  int64_t head_width = 0;
  int64_t intermediate_size = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  NormKind norm = NormKind::kRms;
  double norm_epsilon = 1e-5;
  BlockLayout layout = BlockLayout::kSequential;
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;
  Activation activation = Activation::kSilu;
  /// down(activation(gate x) * up x); otherwise down(activation(up x)).
  bool gated_feed_forward = true;
  RotaryConfig rotary;
  /// Rows of a learned table of positions, which starts `position_offset` rows before position 0; 0 for none.
  int64_t learned_positions = 0;
  int64_t position_offset = 0;
  /// Attention with linear biases (Press et al., 2021).
  bool alibi = false;
  /// A token sees this many tokens, itself included; 0 for all before it.
  int64_t sliding_window = 0;
  /// Factor on the embedding of a token.
  double embedding_scale = 1.0;
  /// A norm between embedding and first block, as in BLOOM.
  bool embedding_norm = false;
  bool tied_embeddings = false;

  int64_t KvHeads(int64_t layer) const { return kv_heads_of_layers.empty() ? kv_heads : kv_heads_of_layers[layer]; }

  int64_t KvHeadsOfAllLayers() const {
    int64_t sum = 0;
    for (int64_t layer = 0; layer < layers; ++layer) sum += KvHeads(layer);
    return sum;
  }

  /// Whether the bias of a query head depends on which head it is, beyond its weights.
  bool HeadsHavePositionBias() const { return alibi; }

  /// Bytes of keys and values that one token leaves in the cache of all layers, at `bytes_per_element`.
  int64_t KvCacheBytesPerToken(int64_t bytes_per_element) const {
    return 2 * KvHeadsOfAllLayers() * head_width * bytes_per_element;
  }
};

}  // namespace regroup
