// The shape of a model and the choices that its family makes, read from config.json by trainer/families.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace regroup {

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

/// Rotary position embedding. `inverse_frequencies` already contain any scaling of the frequencies (linear, llama3).
struct RotaryConfig {
  /// Leading entries of each head that rotate; the head's width for full rotation, 0 for none.
  int64_t width = 0;
  /// Pairs are (2t, 2t+1) as in GPT-J; otherwise (t, t + width/2).
  bool interleaved = false;
  /// One per pair.
  std::vector<double> inverse_frequencies;
};

struct ModelConfig {
  std::string family;
  int64_t hidden_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_width = 0;
  int64_t intermediate_size = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  double norm_epsilon = 1e-5;
  Activation activation = Activation::kSilu;
  RotaryConfig rotary;
  bool tied_embeddings = false;

  /// Bytes of keys and values that one token leaves in the cache of all layers, at `bytes_per_element`.
  int64_t KvCacheBytesPerToken(int64_t bytes_per_element) const {
    return 2 * layers * kv_heads * head_width * bytes_per_element;
  }
};

}  // namespace regroup
