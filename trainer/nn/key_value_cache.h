// Stores the keys and values of the tokens that a model has read, so that the next token needs only one row of
// attention.
//
// Belongs to one decoding loop; one thread at a time. Memory is allocated once, for `capacity` tokens; a layer whose
// attention has a window keeps the tokens in it only, in a ring: the token at position p is in slot p mod window. Cross
// attention keeps the tokens that the encoder has read; the encoder's own layers keep none.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "trainer/nn/attention.h"
#include "trainer/nn/model_config.h"
#include "trainer/nn/positions.h"

namespace regroup {

class KeyValueCache {
 public:
  KeyValueCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype, at::Device device);

  /// Returns how many tokens of each sequence all layers have read, those of a decoder where there is also an encoder.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  int64_t batch() const { return values_.front().size(0); }

  /// Returns the bytes of the keys and values that all layers hold, counted from the tensors.
  int64_t Bytes() const;

  /// Returns the tables of the next `tokens` positions for each kind of attention. Their biases are over all earlier
  /// tokens, also those that a layer has forgotten.
  std::vector<PositionTables> NextPositions(int64_t tokens) const;

  /// Stores the keys and values [B, G, M, d] that a layer of cross attention computed from an encoder's output, M not
  /// more than the capacity.
  void KeepMemory(int64_t layer, const at::Tensor& key_BGMd, const at::Tensor& value_BGMd);

  /// Stores the layer's keys and values of the next T tokens and returns the attention of these tokens' queries,
  /// [B, H, T, d], to them and to the tokens in the cache. In cross attention, whose heads come without keys and
  /// values, to those of KeepMemory.
  at::Tensor Attend(int64_t layer, const AttentionHeads& heads);

  /// Records that all layers have read `tokens` more tokens.
  void Advance(int64_t tokens) { length_ += tokens; }

  /// Removes the tokens after the first `length`. In a layer whose window is full it does not: the tokens there have
  /// replaced others. Enough to measure speed, with any contents.
  void Truncate(int64_t length) { length_ = length; }

  /// Fills the cache as if `length` tokens had been read, also by an encoder, with random contents, to measure speed.
  void FillRandomly(int64_t length);

 private:
  /// Returns the number of tokens that the layer can keep.
  int64_t Slots(int64_t layer) const { return values_[layer].size(2); }
  /// Returns the number of tokens that the layer holds once `length` have been read.
  int64_t Kept(int64_t layer, int64_t length) const;
  /// Stores keys and values [B, G, T, d] of the next T tokens, or of the last of them if the layer has fewer slots.
  void Keep(int64_t layer, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd);
  void KeepInSlots(int64_t layer, int64_t slot, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd);
  /// Returns the keys in the first `slots` slots, [B, G, slots, d].
  at::Tensor Keys(int64_t layer, int64_t slots) const;
  /// Returns the attention of one token to the tokens in the first `kept` slots. Their order matters only to a bias.
  at::Tensor AttendOne(int64_t layer, const AttentionHeads& heads, int64_t kept) const;
  /// Returns the attention of several tokens to all that KeepMemory stored.
  at::Tensor AttendMemory(int64_t layer, const AttentionHeads& heads) const;
  /// Returns the attention of several tokens, or with a bias.
  at::Tensor AttendSeveral(int64_t layer, const AttentionHeads& heads);
  /// Returns the heads with the keys and values of earlier tokens, in order, before their own.
  AttentionHeads WithEarlier(int64_t layer, const AttentionHeads& heads) const;

  /// [B, G, slots, d]; in blocks [B, G, slots / 16, d, 16] if the loops of grouped_products.h are used.
  std::vector<at::Tensor> keys_;
  /// [B, G, slots, d]
  std::vector<at::Tensor> values_;
  ModelConfig config_;
  /// By kind of attention.
  std::vector<RotaryTable> rotations_;
  bool blocked_ = false;
  int64_t capacity_ = 0;
  int64_t length_ = 0;
  /// Number of tokens that an encoder has read.
  int64_t memory_ = 0;
};

/// Computes the attention of one new token per sequence, query [B, H, 1, d], over all keys and values [B, G, T, d],
/// with a bias if there is one. The s = H / G queries that share a KV head are folded into the rows of one product, [B,
/// G, s, d] x [B, G, d, T], so that each key and value is read from memory once.
at::Tensor AttendFolded(const AttentionHeads& heads);

/// Names the implementation of attention for a new token on this device: "grouped loops" or "folded matmul" on CPU; on
/// CUDA the kernel that libtorch chooses.
std::string DecodeAttentionName(const ModelConfig& config, int64_t batch, int64_t length, at::ScalarType dtype,
                                at::Device device);

}  // namespace regroup
