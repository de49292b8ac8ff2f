// Keys and values of the tokens that a model has read, so that the next token costs one row of attention.
//
// Belongs to one decoding loop; one thread at a time. Memory is taken once, for `capacity` tokens.
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

  /// Tokens of each sequence that all layers have read.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  int64_t batch() const { return values_.front().size(0); }

  /// Bytes of the keys and values of `length()` tokens in all layers, counted from the tensors that hold them.
  int64_t Bytes() const;

  /// Those of the next `tokens` positions.
  PositionTables NextPositions(int64_t tokens) const;

  /// Keeps the layer's keys and values [B, G, T, d] of the next T tokens and returns what queries of these tokens read:
  /// for heads H = G s, [B, H, T, d] from query_BHTd. `bias` as in PositionTables, or undefined.
  at::Tensor Attend(int64_t layer, const at::Tensor& query_BHTd, const at::Tensor& key_BGTd,
                    const at::Tensor& value_BGTd, const at::Tensor& bias);

  /// All layers have read `tokens` more.
  void Advance(int64_t tokens) { length_ += tokens; }

  /// Forgets the tokens after the first `length`.
  void Truncate(int64_t length) { length_ = length; }

  /// As if `length` tokens had been read, with random contents: for measurements of speed.
  void FillRandomly(int64_t length);

 private:
  void Keep(int64_t layer, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd);
  /// Keys of the first `tokens` tokens, [B, G, tokens, d].
  at::Tensor Keys(int64_t layer, int64_t tokens) const;
  at::Tensor AttendOne(int64_t layer, const at::Tensor& query_BH1d) const;

  /// [B, G, capacity, d]; in blocks [B, G, capacity / 16, d, 16] where the loops of grouped_products.h serve.
  std::vector<at::Tensor> keys_;
  /// [B, G, capacity, d]
  std::vector<at::Tensor> values_;
  ModelConfig config_;
  RotaryTable rotations_;
  bool blocked_ = false;
  int64_t capacity_ = 0;
  int64_t length_ = 0;
};

/// Attention of one new token per sequence, query [B, H, 1, d], over keys and values [B, G, T, d]. The s = H / G
/// queries that share a KV head are folded into the rows of one product, [B, G, s, d] x [B, G, d, T], so that each key
/// and value is read from memory once.
at::Tensor AttendFolded(const at::Tensor& query_BH1d, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd);

/// How a new token attends on this device: "grouped loops" or "folded matmul" on CPU; on CUDA the kernel that libtorch
/// chooses.
std::string DecodeAttentionName(const ModelConfig& config, int64_t batch, int64_t length, at::ScalarType dtype,
                                at::Device device);

}  // namespace regroup
