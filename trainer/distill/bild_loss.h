// Distillation loss on differences of logits (BiLD, Li et al., 2024).
//
// Once the teacher leads, once the student: the leader's k largest logits z_1 >= ... >= z_k choose k words, and
//
//   loss = sum over tokens and leaders of KL(softmax(d^teacher / T) || softmax(d^student / T))
//   d_ij = z_i - z_j for i < j
//
// over the k (k - 1) / 2 differences of either model's logits of these words. What a model says about the long tail of
// words has no part in it. Which words lead is taken as given: with p and q the two softmaxes,
// d loss / d z_i^student = sum over j > i of (q_ij - p_ij) / T - sum over j < i of (q_ji - p_ji) / T.
#pragma once

#include "trainer/distill/chunked_loss.h"

namespace regroup {

struct BildOptions {
  /// Words that lead; fewer where the vocabulary has fewer.
  int64_t words = 16;
  double temperature = 3.0;
};

/// See ChunkedLoss. `weight` is usually 1 / answer tokens of the global batch.
at::Tensor ChunkedBildLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                           const at::Tensor& teacher_hidden, const Linear& teacher_projection, double weight,
                           const BildOptions& bild = {}, const ChunkedLossOptions& options = {});

}  // namespace regroup
