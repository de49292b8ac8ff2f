// Attention of a student that also returns how far its probabilities are from a teacher's.
//
// The divergence needs the probabilities themselves, which fused attention does not give. The gradient of both results
// has a closed form, so one function computes the probabilities of a head while they are in the CPU's cache, and
// keeps what the backward pass needs: two matrices [T, tokens read] for each head.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/transformer.h"

namespace regroup {

struct ComparedAttention {
  /// [B, H, T, d], in the student's dtype.
  at::Tensor attended;
  /// weight x sum over sequences, heads and queries of sum_t p_t (log p_t - log p'_t), with p the teacher's
  /// probabilities and p' the student's; a float32 scalar.
  at::Tensor divergence;
};

/// Both have the same number of query heads in the same order, and the same tokens; their numbers of KV heads may
/// differ. The student's query, key and value receive gradients; the teacher and the biases do not. Deterministic on
/// the CPU, for any number of threads.
ComparedAttention AttendAndCompare(const AttentionHeads& student, const AttentionHeads& teacher, double weight);

}  // namespace regroup
