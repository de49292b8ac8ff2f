// How fast models decode, measured in turns so that a busy machine slows all of them alike.
//
// A step of decoding reads every weight and the whole KV cache once. Where reading is what takes the time, a step
// cannot be faster than (bytes of weights + bytes of cache) / bandwidth; the ratio of two models' bytes bounds the
// speed-up of one over the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/nn/model.h"

namespace regroup {

struct DecodeCase {
  int64_t batch = 1;
  /// Tokens in the cache when decoding starts.
  int64_t context = 0;
  int64_t new_tokens = 0;
  /// Reads the context with the model, which times the prefill; otherwise the cache is filled with random numbers.
  bool prefill = true;
};

/// One model in one case. Times are seconds; a step gives one token to each sequence of the batch.
struct DecodeSpeed {
  double prefill_seconds = 0;
  /// In the order they ran.
  std::vector<double> step_seconds;
  /// Keys and values of the context: as they lie in memory, and by 2 x layers x KV heads x width x element size.
  int64_t cache_bytes = 0;
  int64_t computed_cache_bytes = 0;
  int64_t weight_bytes = 0;
  /// What one step reads at least, in the middle of the measurement.
  int64_t step_bytes = 0;

  /// The given share of the steps was at most this long; 0.5 is the median.
  double StepSeconds(double share) const;
  double TokensPerSecond(int64_t batch) const { return static_cast<double>(batch) / StepSeconds(0.5); }
};

/// Bytes of the parameters that decoding reads: all but the embedding, of which it reads single rows, unless the
/// embedding is the output projection too.
int64_t DecodedWeightBytes(const Model& model);

/// Measures the models in turns of a few steps each. All must have the same vocabulary. `progress` gets rounds done and
/// in all.
std::vector<DecodeSpeed> MeasureDecodeSpeed(const std::vector<const Model*>& models, const DecodeCase& setting,
                                            const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace regroup
