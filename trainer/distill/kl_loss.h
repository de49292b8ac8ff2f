// Distillation loss: Kullback-Leibler divergence of the student's next-token distribution from the teacher's.
//
//   loss = weight * sum over tokens of sum_v p_v (log p_v - log q_v),   p teacher, q student, temperature 1
//
// The logits of all tokens would need tokens x vocabulary floats several times over. Here tokens are taken in chunks,
// and the gradient with respect to the student's hidden states and output projection is computed chunk by chunk in the
// forward pass, since it is known in closed form: d loss / d logits = weight (q - p). Memory does not grow with tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/model.h"

namespace regroup {

struct KlLossOptions {
  /// Tokens of one chunk.
  int64_t chunk_tokens = 256;
};

/// Scalar loss, float32. student_hidden [N, D] and student_projection ([V, D], with a bias [V] or none) receive
/// gradients where they require them; the teacher's (same N and V, its own width) do not. `weight` is usually 1 /
/// tokens of the global batch.
at::Tensor ChunkedKlLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                         const at::Tensor& teacher_hidden, const Linear& teacher_projection, double weight,
                         const KlLossOptions& options = {});

}  // namespace regroup
