// Collects what calibration keeps of one attention layer: sums over tokens, never activations (README.md, "What
// calibration keeps").
//
// It always keeps the number of tokens, the second moment C = sum x^T x and the sum of the attention input x. The Grams
// of keys, queries and values follow from them by the weights. For the similarity `cosine` it also keeps the Grams of
// keys and values scaled to unit length per head and token, which do not follow from C.
//
// Products are computed in float32 over blocks of tokens; running sums are float64 on the device of the activations.
// Memory does not depend on the number of tokens. One object belongs to one layer and to one thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/alignment/attention.h"
#include "trainer/alignment/named_tensors.h"

namespace regroup {

/// Holds one batch of an attention layer. All tensors have the same leading axes, any number of them, and may be of any
/// floating type.
struct AttentionActivations {
  /// Input of the key and value projections [..., hidden].
  at::Tensor input;
  /// Keys before rotation, with their bias [..., kv_heads * head_width]; read only for unit-length Grams.
  at::Tensor keys;
  /// Values with their bias [..., kv_heads * value_width]; read only for unit-length Grams.
  at::Tensor values;
  /// True for tokens that count, boolean [...]; if undefined, all count. Padding must be false.
  at::Tensor mask;
  /// Input of the query projection [..., query_hidden] and its mask, for cross attention only, with leading axes of
  /// their own.
  at::Tensor query_input;
  at::Tensor query_mask;
};

/// Computes keys and values of `input` by the weights, for callers that do not have them at hand.
AttentionActivations ProjectKeysAndValues(const at::Tensor& input, const AttentionWeights& weights);

class LayerStatistics {
 public:
  /// Starts with no tokens; `unit_grams` keeps the sums that the similarity `cosine` needs as well.
  LayerStatistics(const AttentionShape& shape, bool unit_grams);
  // Tensors are handles: a copy would share the sums.
  LayerStatistics(const LayerStatistics&) = delete;
  LayerStatistics& operator=(const LayerStatistics&) = delete;
  LayerStatistics(LayerStatistics&&) = default;
  LayerStatistics& operator=(LayerStatistics&&) = default;

  /// Adds one batch. Tokens whose mask is false leave no trace.
  void Accumulate(const AttentionActivations& batch);

  /// Moves the running sums to `device`; Accumulate moves them to its batch.
  void MoveSumsTo(at::Device device);
  /// Returns the running sums, float64, to be added over ranks in place by one all-reduce of each. The statistics of
  /// the union of all tokens are the sums of the parts.
  std::vector<at::Tensor> Sums() const;
  /// Adds the sums of `other`, which must have the same shape and settings.
  void Merge(const LayerStatistics& other);

  /// Returns the statistics of the layer after its KV heads were split into `kv_heads` (split_heads.h).
  LayerStatistics Split(int64_t kv_heads) const;

  /// Returns the tensors for the layer's file, on the CPU. FromTensors takes them back, and returns INVALID_ARGUMENT
  /// with the name of a missing or misshapen tensor.
  NamedTensors ToTensors() const;
  static absl::StatusOr<LayerStatistics> FromTensors(const AttentionShape& shape, const TensorMap& tensors);

  const AttentionShape& Shape() const { return shape_; }
  bool HasUnitGrams() const { return unit_grams_; }
  /// Returns the number of tokens that counted.
  double Tokens() const;

  // These return the sums, not divided by the number of tokens; undefined if they are not kept.
  at::Tensor InputMoment() const { return Whole(sums_.input_moment); }  // [hidden, hidden]
  const at::Tensor& InputSum() const { return sums_.input_sum; }        // [hidden]
  double QueryTokens() const;                                           // = Tokens() without cross attention
  at::Tensor QueryMoment() const;                                       // = InputMoment() without cross attention
  const at::Tensor& QuerySum() const;
  at::Tensor UnitValueGram() const { return Whole(sums_.unit_value_gram); }       // [H * value_width, H * value_width]
  const at::Tensor& UnitKeyPairs() const { return sums_.unit_key_pairs; }         // [pairs, H, H, 2]: sum conj(z_a) z_b
  at::Tensor UnitKeyFreeGram() const { return Whole(sums_.unit_key_free_gram); }  // [H * free, H * free], not centred
  const at::Tensor& UnitKeyFreeSum() const { return sums_.unit_key_free_sum; }    // [H * free]

 private:
  struct SumTensors {
    at::Tensor tokens, input_moment, input_sum;
    at::Tensor query_tokens, query_moment, query_sum;
    at::Tensor unit_value_gram, unit_key_pairs, unit_key_free_gram, unit_key_free_sum;
  };
  // Returns every sum that is kept, with its name in files.
  template <typename Fields>
  static auto Named(Fields& sums);
  /// Returns a symmetric sum with its lower half, which is not kept up to date while tokens are added.
  at::Tensor Whole(const at::Tensor& sum) const;
  void AddUnitValues(const at::Tensor& values);
  void AddUnitKeys(const at::Tensor& keys);

  AttentionShape shape_;
  bool unit_grams_;
  bool lower_halves_stale_ = false;
  SumTensors sums_;
};

}  // namespace regroup
