// Distillation loss on differences of logits (BiLD, Li et al., 2024).
//
// The teacher leads once and the student leads once: the leader's k largest logits z_1 >= ... >= z_k select k tokens of
// the vocabulary, and
//
//   loss = sum over positions and leaders of KL(softmax(d^teacher / T) || softmax(d^student / T))
//   d_ij = z_i - z_j for i < j
//
// over the k (k - 1) / 2 differences of either model's logits of these tokens. The long tail of the vocabulary does not
// contribute. The selection is treated as constant; with p and q the two softmaxes,
//
//   d loss / d z_i^student = sum over j > i of (q_ij - p_ij) / T - sum over j < i of (q_ji - p_ji) / T
#pragma once

#include "trainer/distill/chunked_loss.h"

namespace regroup {

struct BildOptions {
  /// Number of leading vocabulary entries; fewer if the vocabulary is smaller.
  int64_t words = 16;
  double temperature = 3.0;
};

/// See ChunkedLoss. `weight` is usually 1 / answer tokens of the global batch.
at::Tensor ChunkedBildLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                           const at::Tensor& teacher_hidden, const Linear& teacher_projection, double weight,
                           const BildOptions& bild = {}, const ChunkedLossOptions& options = {});

}  // namespace regroup
