// The forward pass written out in loops over single numbers, in float64: an oracle for trainer/nn/transformer.h.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/model.h"

namespace regroup {

/// Logits [B, T, V], float64, of tokens_BT.
at::Tensor SlowLogits(const Model& model, const at::Tensor& tokens_BT);

/// A model with random weights in every slot that `with_biases` and `config` allow, float32.
Model RandomModel(const ModelConfig& config, bool with_biases, uint64_t seed);

/// 2 layers, 4 heads of width 6 on a hidden size of 10 (so that heads x width differs from it), `kv_heads` KV heads.
ModelConfig SmallConfig(int64_t kv_heads);

}  // namespace regroup
