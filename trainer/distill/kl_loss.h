// Distillation loss: Kullback-Leibler divergence of the student's next-token distribution from the teacher's.
//
//   loss = weight * sum over tokens of sum_v p_v (log p_v - log q_v),   p teacher, q student, temperature 1
//
// with d loss / d logits = weight (q - p).
#pragma once

#include "trainer/distill/chunked_loss.h"

namespace regroup {

/// See ChunkedLoss. `weight` is usually 1 / tokens of the global batch.
at::Tensor ChunkedKlLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                         const at::Tensor& teacher_hidden, const Linear& teacher_projection, double weight,
                         const ChunkedLossOptions& options = {});

}  // namespace regroup
