// Measures how fast models decode. The models take turns, so that a busy machine slows all of them equally.
//
// A decoding step reads every weight once, of experts those that its tokens choose, and the whole KV cache. If reading
// is the bottleneck, a step cannot be faster than (bytes of weights + bytes of cache) / bandwidth; the ratio of two
// models' bytes bounds the speed-up of one over the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/nn/model.h"

namespace regroup {

struct DecodeCase {
  int64_t batch = 1;
  /// Number of tokens in the cache when decoding starts; the encoder of an encoder-decoder has read as many.
  int64_t context = 0;
  int64_t new_tokens = 0;
  /// If true, the model reads the context, which also times the prefill; otherwise the cache is filled with random
  /// numbers.
  bool prefill = true;
};

/// Measurements of one model in one case. Times are in seconds; a step produces one token for each sequence of the
/// batch.
struct DecodeSpeed {
  double prefill_seconds = 0;
  /// In the order in which the steps ran.
  std::vector<double> step_seconds;
  /// Keys and values of the context: bytes in memory, and bytes by ModelConfig::KvCacheBytes.
  int64_t cache_bytes = 0;
  int64_t computed_cache_bytes = 0;
  int64_t weight_bytes = 0;
  /// Minimum number of bytes that one step reads, in the middle of the measurement.
  int64_t step_bytes = 0;

  /// Returns the time that the given share of the steps did not exceed; 0.5 is the median.
  double StepSeconds(double share) const;
  double TokensPerSecond(int64_t batch) const { return static_cast<double>(batch) / StepSeconds(0.5); }
};

/// Returns the bytes of the parameters that decoding reads: all but the embedding, of which it reads single rows,
/// unless the embedding is also the output projection, and but those that an encoder-decoder needs only to encode.
int64_t DecodedWeightBytes(const Model& model, int64_t batch);

/// Measures the models in turns of a few steps each. All must have the same vocabulary. `progress` receives the number
/// of rounds done and the total.
std::vector<DecodeSpeed> MeasureDecodeSpeed(const std::vector<const Model*>& models, const DecodeCase& setting,
                                            const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace regroup
