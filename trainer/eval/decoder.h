// Decodes greedily with a KV cache. One thread at a time; the model must outlive it. No gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/nn/key_value_cache.h"
#include "trainer/nn/model.h"

namespace regroup {

/// Packs the weights that LinearOfPacked accepts, and releases its handles to the originals: if the caller holds no
/// other handle, only one weight at a time is in memory twice. The packed model can be run, but neither trained nor
/// written.
void PackForDecoding(Model& model);

class Decoder {
 public:
  /// Allocates memory for `batch` sequences of `capacity` tokens, in an encoder-decoder for each of the two.
  Decoder(const Model& model, int64_t batch, int64_t capacity);

  /// Reads a prompt and returns the most likely first tokens of an answer, [B, 1]. An encoder reads the whole prompt,
  /// and its decoder the token that it starts with.
  at::Tensor ReadPrompt(const at::Tensor& tokens_BT);

  /// Lets the encoder read tokens_BT, for all tokens that the decoder reads afterwards.
  void Encode(const at::Tensor& tokens_BT);

  /// Reads tokens_BT and returns the most likely next tokens, [B, 1]. Returns when the device has computed them.
  at::Tensor Read(const at::Tensor& tokens_BT);

  KeyValueCache& cache() { return cache_; }

 private:
  const Model& model_;
  KeyValueCache cache_;
};

/// Returns the `new_tokens` tokens that follow prompt_BT when the most likely one is taken each time, [B, new_tokens],
/// int64.
at::Tensor DecodeGreedily(const Model& model, const at::Tensor& prompt_BT, int64_t new_tokens);

}  // namespace regroup
