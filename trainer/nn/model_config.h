// Describes the shape of a model and the choices of its family, read from config.json by trainer/families.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace regroup {

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu, kSquaredRelu };

enum class NormKind {
  /// x / rms(x) * w
  kRms,
  /// x / rms(x) * (1 + w), as in Gemma
  kRmsPlusOne,
  /// (x - mean) / deviation * w + b; OLMo has neither w nor b
  kLayer,
  /// (x - mean) / deviation * (1 + w) + b, as in Nemotron
  kLayerPlusOne,
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
  /// y = x + M1 A(N1 x), then y + M2 F(N2 y), as in Gemma 2, with M1 and M2 the output norms
  kNormAround,
  /// y = N1(x + A(x)), then N2(y + F(y)), as in the original Transformer and BART
  kNormOnSum,
};

/// A norm on queries and keys before rotation. It is not linear, so fewer maps leave the model unchanged.
enum class QueryKeyNorm {
  kNone,
  /// Normalises each head separately, with one weight [head width] for all heads, as in Qwen3.
  kPerHead,
  /// Normalises all heads together, with a weight [heads x head width], as in OLMo 2.
  kAllHeads,
};

/// The tokens that a layer's attention reads. The layers of an encoder-decoder are numbered consecutively: those of the
/// encoder, then two for each layer of the decoder: its self-attention, which has no feed-forward of its own, and its
/// cross attention.
enum class AttentionRole {
  /// The token itself and earlier ones.
  kDecoder,
  /// The whole input.
  kEncoder,
  /// Keys and values of the encoder's output.
  kCross,
};

struct LayerPlace {
  std::string_view stack;
  int64_t index = 0;
};

/// A learned bias for each head and each range of distances between query and key (Raffel et al., 2020), with one table
/// for the encoder and one for the decoder's self-attention.
struct RelativeBiasConfig {
  /// Number of ranges; 0 if the model has no such bias.
  int64_t buckets = 0;
  /// All distances from this one on are in the last range.
  int64_t max_distance = 128;
};

/// Positions as sines and cosines that are added to the embedding (Vaswani et al., 2017): entries i and D / 2 + i of
/// position p are sin and cos of p 10000^(-i / divisor).
struct SinusoidalConfig {
  /// D / 2 in most models, D / 2 - 1 in M2M-100; 0 if there are none.
  double divisor = 0;
};

/// The spectrogram that an encoder reads in place of tokens (Whisper). Two convolutions over time lead to its stream,
/// of which the second takes every other frame.
struct SpectrogramConfig {
  /// 0 in models that read tokens.
  int64_t mel_bins = 0;
  int64_t frames = 0;

  int64_t Values() const { return mel_bins * frames; }
};

/// Rotary position embedding. `inverse_frequencies` already include any scaling of the frequencies (linear, llama3,
/// yarn, longrope).
struct RotaryConfig {
  bool operator==(const RotaryConfig&) const = default;

  /// Number of leading entries of each head that rotate; the head's width for full rotation, 0 for none.
  int64_t width = 0;
  /// Pairs are (2t, 2t+1) as in GPT-J; otherwise (t, t + width/2).
  bool interleaved = false;
  /// One per pair.
  std::vector<double> inverse_frequencies;
  /// Those of sequences that are longer than `short_positions` (longrope, Ding et al., 2024), for all of their tokens.
  /// Empty if they are the same.
  std::vector<double> long_inverse_frequencies;
  int64_t short_positions = 0;
  /// Factor on every cosine and sine (yarn, longrope); 1 otherwise.
  double magnitude = 1.0;

  const std::vector<double>& FrequenciesOf(int64_t sequence_length) const {
    const bool is_long = !long_inverse_frequencies.empty() && sequence_length > short_positions;
    return is_long ? long_inverse_frequencies : inverse_frequencies;
  }
};

/// How the tokens of a layer attend to earlier ones. Models with `layer_types` have several kinds.
struct AttentionKind {
  bool operator==(const AttentionKind&) const = default;

  /// A token sees this many tokens, including itself; 0 for all earlier ones.
  int64_t sliding_window = 0;
  /// Its width is 0 in layers without positions.
  RotaryConfig rotary;

  /// Returns how many of the first `tokens` tokens of a sequence the last one sees, which are those in a KV cache.
  int64_t TokensSeen(int64_t tokens) const { return sliding_window > 0 ? std::min(tokens, sliding_window) : tokens; }
};

/// A mixture of experts (Shazeer et al., 2017) in place of a feed-forward. With router R and p = softmax(R x),
///   y = sum over the `per_token` experts e with the largest p_e of w_e F_e(x) + sigmoid(s x) F_shared(x),
/// where w_e = p_e, or p_e divided by the sum of the chosen ones if `normalised`.
struct ExpertsConfig {
  /// 0 if the model has none.
  int64_t count = 0;
  int64_t per_token = 0;
  /// Intermediate sizes of each expert and of the shared one; 0 without a shared one.
  int64_t width = 0;
  int64_t shared_width = 0;
  bool normalised = false;
  /// Layers with an ordinary feed-forward instead, in increasing order.
  std::vector<int64_t> dense_layers;
};

struct ModelConfig {
  std::string family;
  int64_t hidden_size = 0;
  /// Number of attention layers, see AttentionRole.
  int64_t layers = 0;
  /// Number of leading layers that belong to the encoder; 0 in a decoder without encoder.
  int64_t encoder_layers = 0;
  int64_t heads = 0;
  /// KV heads of every layer; if the numbers differ, the largest, see kv_heads_of_layers.
  int64_t kv_heads = 0;
  /// KV heads of each layer if the numbers differ; otherwise empty.
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
  ExpertsConfig experts;
  /// At least one.
  std::vector<AttentionKind> kinds = std::vector<AttentionKind>(1);
  /// Index of each layer's kind; empty if all layers have the first.
  std::vector<int64_t> kind_of_layers;
  /// Rows of a learned table of positions; position 0 is row `position_offset`. 0 for no table.
  int64_t learned_positions = 0;
  int64_t position_offset = 0;
  /// Position 0 is `position_offset` here too.
  SinusoidalConfig sinusoidal;
  SpectrogramConfig spectrogram;
  /// Attention with linear biases (Press et al., 2021).
  bool alibi = false;
  RelativeBiasConfig relative_bias;
  /// Factor on the products of queries and keys; 0 for 1 / sqrt(head width).
  double attention_scale = 0;
  /// If above 0, an attention logit z becomes c tanh(z / c) before the mask, with c this number (Gemma 2).
  double attention_soft_cap = 0;
  /// The same for the logits of the vocabulary.
  double logit_soft_cap = 0;
  /// The embedding of a token is multiplied by this factor.
  double embedding_scale = 1.0;
  /// Factor on what attention and feed-forward add to the stream (Granite).
  double residual_scale = 1.0;
  /// Keys of config.json that are true and give projections a bias, such as "attention_bias" (NameRule::bias_key).
  std::vector<std::string_view> bias_keys;
  /// The model has a norm between embedding and first block, as in BLOOM. An encoder-decoder has one for each stack.
  bool embedding_norm = false;
  /// The model has a norm after the last block, in each stack.
  bool final_norm = true;
  bool tied_embeddings = false;
  /// The last hidden states are multiplied by this factor.
  double output_scale = 1.0;
  /// The token with which an encoder-decoder's decoder begins.
  int64_t decoder_start_token = 0;

  int64_t KvHeads(int64_t layer) const { return kv_heads_of_layers.empty() ? kv_heads : kv_heads_of_layers[layer]; }

  int64_t KindIndex(int64_t layer) const { return kind_of_layers.empty() ? 0 : kind_of_layers[layer]; }
  const AttentionKind& Kind(int64_t layer) const { return kinds[KindIndex(layer)]; }

  double AttentionScale() const {
    return attention_scale > 0 ? attention_scale : 1.0 / std::sqrt(static_cast<double>(head_width));
  }

  bool HasExperts(int64_t layer) const {
    return experts.count > 0 && !std::ranges::binary_search(experts.dense_layers, layer);
  }

  int64_t KvHeadsOfAllLayers() const {
    int64_t sum = 0;
    for (int64_t layer = 0; layer < layers; ++layer) sum += KvHeads(layer);
    return sum;
  }

  bool HasEncoder() const { return encoder_layers > 0; }

  AttentionRole Role(int64_t layer) const {
    if (layer < encoder_layers) return AttentionRole::kEncoder;
    return HasEncoder() && (layer - encoder_layers) % 2 == 1 ? AttentionRole::kCross : AttentionRole::kDecoder;
  }

  /// Returns "layers" and the layer itself; for an encoder-decoder, "encoder", "decoder" (self-attention) or "cross"
  /// with the index in that stack.
  LayerPlace PlaceOfLayer(int64_t layer) const {
    if (!HasEncoder()) return {"layers", layer};
    const int64_t behind_encoder = (layer - encoder_layers) / 2;
    switch (Role(layer)) {
      case AttentionRole::kEncoder:
        return {"encoder", layer};
      case AttentionRole::kCross:
        return {"cross", behind_encoder};
      case AttentionRole::kDecoder:
        break;
    }
    return {"decoder", behind_encoder};
  }

  /// Returns the intermediate size of the layer's feed-forward, over all experts or over those that one token uses.
  int64_t FeedForwardWidth(int64_t layer) const {
    return HasExperts(layer) ? experts.count * experts.width + experts.shared_width : intermediate_size;
  }
  int64_t ActiveFeedForwardWidth(int64_t layer) const {
    return HasExperts(layer) ? experts.per_token * experts.width + experts.shared_width : intermediate_size;
  }

  /// Returns the number of layers with a feed-forward.
  int64_t FeedForwards() const { return HasEncoder() ? encoder_layers + (layers - encoder_layers) / 2 : layers; }

  bool ReadsAudio() const { return spectrogram.mel_bins > 0; }

  /// Returns the positions of one stack: an encoder-decoder has those of `max_positions` for both together. Where the
  /// encoder reads audio, these are the decoder's.
  int64_t StackPositions() const { return HasEncoder() && !ReadsAudio() ? max_positions / 2 : max_positions; }

  /// Returns how many entries of a window of `entries` the encoder reads: the first half, or a spectrogram, whose
  /// entries are the bits of float32 numbers.
  int64_t EncoderInputs(int64_t entries) const {
    if (ReadsAudio()) return spectrogram.Values();
    return HasEncoder() ? entries / 2 : 0;
  }

  /// Returns the number of positions of the encoder's stream for a window of `entries`.
  int64_t EncoderTokens(int64_t entries) const {
    return ReadsAudio() ? spectrogram.frames / 2 : EncoderInputs(entries);
  }

  /// Returns the number of positions of both streams together.
  int64_t StreamTokens(int64_t entries) const { return EncoderTokens(entries) + entries - EncoderInputs(entries); }

  /// Returns how many entries of a window the model predicts: all but the first, or those that the encoder does not
  /// read. Where the encoder reads audio, negative ones at the end fill the window and are not predicted.
  int64_t PredictedTokens(int64_t entries) const {
    return HasEncoder() ? entries - EncoderInputs(entries) : entries - 1;
  }

  /// Returns true if a norm is between the attention and the stream to which it is added.
  bool NormsAttentionOutput() const { return layout == BlockLayout::kNormAfter || layout == BlockLayout::kNormAround; }

  /// Returns true if the bias of a query head depends on its index, in addition to its weights.
  bool HeadsHavePositionBias() const { return alibi || relative_bias.buckets > 0; }

  /// Returns the bytes of keys and values in the cache of all layers after `tokens` tokens, at `bytes_per_element`; a
  /// layer with a window keeps those in it. For an encoder-decoder these are tokens of the decoder and as many that its
  /// cross attention reads, or a clip of audio; the encoder itself has no cache.
  int64_t KvCacheBytes(int64_t tokens, int64_t bytes_per_element) const {
    int64_t entries = 0;
    for (int64_t layer = encoder_layers; layer < layers; ++layer) {
      const bool is_of_clip = ReadsAudio() && Role(layer) == AttentionRole::kCross;
      const int64_t kept = is_of_clip ? EncoderTokens(0) : Kind(layer).TokensSeen(tokens);
      entries += 2 * KvHeads(layer) * head_width * kept;
    }
    return entries * bytes_per_element;
  }

  /// Returns the bytes that one token adds to the cache of all layers while no window is full.
  int64_t KvCacheBytesPerToken(int64_t bytes_per_element) const {
    return KvCacheBytes(1, bytes_per_element) - KvCacheBytes(0, bytes_per_element);
  }

  /// Returns the bytes that one token adds once all windows are full.
  int64_t GrowingKvCacheBytesPerToken(int64_t bytes_per_element) const {
    int64_t longest = 0;
    for (const AttentionKind& kind : kinds) longest = std::max(longest, kind.sliding_window);
    return KvCacheBytes(longest + 1, bytes_per_element) - KvCacheBytes(longest, bytes_per_element);
  }
};

}  // namespace regroup
