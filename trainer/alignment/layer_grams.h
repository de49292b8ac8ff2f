// The second moments of keys, values and queries of one layer, from which grouping and alignment are computed.
//
// They are computed from LayerStatistics and the weights: with x the input, G_v = W_v C W_v^T (biases through the mean
// of x), and the same for keys and queries. All are averages over tokens, float64, on the CPU. H is the number of KV
// heads; the query figures and the output metric of a KV head are sums over its query heads, because all of them see
// its merging error.
//
// A plain value, which may be read from any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_statistics.h"

namespace regroup {

/// The maps besides the exchange of heads that an alignment uses for keys behind a norm (key_norm.h).
struct KeyTurns {
  /// True if a pair, or a coordinate that does not rotate, may change its sign.
  bool signs = false;
  /// bool [pairs, H]: the pairs that may turn by any angle. Undefined for none.
  at::Tensor phases;
};

struct LayerGrams {
  AttentionShape shape;
  at::Tensor value;      // [H, w, H, w]: E v_i^T v_j
  at::Tensor key_pairs;  // complex [pairs, H, H]: E conj(z_a) z_b, before rotation
  at::Tensor key_free;   // [H, f, H, f]: covariance; a constant key cancels in the softmax where nothing rotates
  at::Tensor query_pair_energy;  // [H, pairs]: E|q|^2
  at::Tensor query_free;         // [H, f, f]: E q^T q
  at::Tensor output_metric;      // [H, w, w]: Wo Wo^T

  /// Read only if the layer has norms of keys.
  KeyTurns turns;

  // The same for heads of unit length; undefined unless the statistics have them.
  at::Tensor unit_value;
  at::Tensor unit_key_pairs;
  at::Tensor unit_key_free;

  /// Returns the Grams of the given heads, on which one group's transforms depend.
  LayerGrams Select(const std::vector<int64_t>& heads) const;
};

/// Returns the Grams; FAILED_PRECONDITION if there are no tokens or a value is not finite.
absl::StatusOr<LayerGrams> BuildGrams(const LayerStatistics& statistics, const AttentionWeights& weights);

}  // namespace regroup
