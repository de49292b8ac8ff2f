// Computes a distillation loss over the logits of student and teacher, which is a sum over tokens, in chunks of tokens.
//
// The logits of all tokens would need tokens x vocabulary floats several times. Instead the gradient with respect to
// the student's hidden states and output projection is computed chunk by chunk in the forward pass, since the gradients
// of the losses have a closed form. Memory does not grow with the number of tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>

#include "trainer/nn/model.h"

namespace regroup {

/// Computes the loss of some tokens, a float64 scalar, from logits [tokens, V] of one dtype. Replaces the student's
/// logits by the gradient of weight x loss with respect to them.
using LogitLoss = std::function<at::Tensor(at::Tensor student_logits, const at::Tensor& teacher_logits, double weight)>;

struct ChunkedLossOptions {
  /// Number of tokens in one chunk; by default LossChunkTokens of the device.
  std::optional<int64_t> chunk_tokens = {};
  /// See ModelConfig::logit_soft_cap; for both models.
  double soft_cap = 0;
};

/// Returns weight x the sum of the loss over tokens, a float32 scalar. student_hidden [N, D] and student_projection
/// ([V, D], with an optional bias [V]) receive gradients if they require them; the teacher's (same N and V, its own
/// width) do not.
at::Tensor ChunkedLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                       const at::Tensor& teacher_hidden, const Linear& teacher_projection, const LogitLoss& loss,
                       double weight, const ChunkedLossOptions& options = {});

}  // namespace regroup
