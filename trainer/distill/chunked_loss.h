// A distillation loss over the logits of student and teacher, a sum over tokens, taken in chunks of them.
//
// The logits of all tokens would need tokens x vocabulary floats several times over. Here tokens are taken in chunks,
// and the gradient with respect to the student's hidden states and output projection is computed chunk by chunk in the
// forward pass, since losses know their gradient in closed form. Memory does not grow with tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "trainer/nn/model.h"

namespace regroup {

/// The loss of some tokens, a float64 scalar, of logits [tokens, V] of one dtype. The student's become the gradient of
/// weight x loss with respect to them.
using LogitLoss = std::function<at::Tensor(at::Tensor student_logits, const at::Tensor& teacher_logits, double weight)>;

struct ChunkedLossOptions {
  /// Tokens of one chunk.
  int64_t chunk_tokens = 256;
};

/// weight x the sum of the loss over tokens, a float32 scalar. student_hidden [N, D] and student_projection ([V, D],
/// with a bias [V] or none) receive gradients where they require them; the teacher's (same N and V, its own width) do
/// not.
at::Tensor ChunkedLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                       const at::Tensor& teacher_hidden, const Linear& teacher_projection, const LogitLoss& loss,
                       double weight, const ChunkedLossOptions& options = {});

}  // namespace regroup
