// Stores the keys and values of the tokens that a model has read, so that the next token needs only one row of
// attention.
//
// Belongs to one decoding loop; one thread at a time. Memory is allocated once, for `capacity` tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "trainer/nn/model_config.h"
#include "trainer/nn/positions.h"

namespace regroup {

class KeyValueCache {
 public:
  KeyValueCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype, at::Device device);

  /// Returns how many tokens of each sequence all layers have read.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  int64_t batch() const { return values_.front().size(0); }

  /// Returns the bytes of the keys and values of `length()` tokens in all layers, counted from the tensors that hold
  /// them.
  int64_t Bytes() const;

  /// Returns the tables of the next `tokens` positions.
  PositionTables NextPositions(int64_t tokens) const;

  /// Stores the layer's keys and values [B, G, T, d] of the next T tokens and returns the attention of these tokens'
  /// queries: for H = G s heads, [B, H, T, d] from query_BHTd. `bias` is as in PositionTables, or undefined.
  at::Tensor Attend(int64_t layer, const at::Tensor& query_BHTd, const at::Tensor& key_BGTd,
                    const at::Tensor& value_BGTd, const at::Tensor& bias);

  /// Records that all layers have read `tokens` more tokens.
  void Advance(int64_t tokens) { length_ += tokens; }

  /// Removes the tokens after the first `length`.
  void Truncate(int64_t length) { length_ = length; }

  /// Fills the cache as if `length` tokens had been read, with random contents, to measure speed.
  void FillRandomly(int64_t length);

 private:
  void Keep(int64_t layer, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd);
  /// Returns the keys of the first `tokens` tokens, [B, G, tokens, d].
  at::Tensor Keys(int64_t layer, int64_t tokens) const;
  at::Tensor AttendOne(int64_t layer, const at::Tensor& query_BH1d) const;

  /// [B, G, capacity, d]; in blocks [B, G, capacity / 16, d, 16] if the loops of grouped_products.h are used.
  std::vector<at::Tensor> keys_;
  /// [B, G, capacity, d]
  std::vector<at::Tensor> values_;
  ModelConfig config_;
  RotaryTable rotations_;
  bool blocked_ = false;
  int64_t capacity_ = 0;
  int64_t length_ = 0;
};

/// Computes the attention of one new token per sequence, query [B, H, 1, d], over keys and values [B, G, T, d]. The s =
/// H / G queries that share a KV head are folded into the rows of one product, [B, G, s, d] x [B, G, d, T], so that
/// each key and value is read from memory once.
at::Tensor AttendFolded(const at::Tensor& query_BH1d, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd);

/// Names the implementation of attention for a new token on this device: "grouped loops" or "folded matmul" on CPU; on
/// CUDA the kernel that libtorch chooses.
std::string DecodeAttentionName(const ModelConfig& config, int64_t batch, int64_t length, at::ScalarType dtype,
                                at::Device device);

}  // namespace regroup
