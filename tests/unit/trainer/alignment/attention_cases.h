// Attention layers of every kind that the families use, with random weights, for tests that loop over them.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_statistics.h"

namespace regroup {

struct AttentionCase {
  std::string name;
  AttentionShape shape;
  bool biases = false;

  friend void PrintTo(const AttentionCase& attention, std::ostream* stream) { *stream << attention.name; }
};

/// Returns cases with rotary positions in both layouts, partial or none; biases; a grouped source; a different value
/// width; cross attention.
std::vector<AttentionCase> AttentionCases();
AttentionCase CaseNamed(const std::string& name);

AttentionWeights RandomWeights(const AttentionCase& attention, uint64_t seed);
/// Returns float64 tokens with a mean and unequal variances, so that their covariance is never the identity.
at::Tensor RandomTokens(int64_t tokens, int64_t width, uint64_t seed);
at::Tensor RandomNormal(at::IntArrayRef sizes, uint64_t seed);
/// Returns a random orthogonal matrix.
at::Tensor RandomRotation(int64_t width, uint64_t seed);

/// One layer with tokens and their statistics.
struct CalibratedLayer {
  CalibratedLayer(const AttentionCase& attention, uint64_t seed, int64_t tokens = 160);
  void Recalibrate();  // Call it after changing the weights.

  AttentionShape shape;
  AttentionWeights weights;
  at::Tensor input;
  at::Tensor query_input;
  LayerStatistics statistics;
};

/// Returns the largest change of the layer's output, relative to its largest value, with these weights and their number
/// of KV heads.
double OutputChange(const CalibratedLayer& layer, const AttentionWeights& changed, int64_t kv_heads);

}  // namespace regroup
