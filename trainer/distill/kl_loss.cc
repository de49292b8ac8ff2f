#include "trainer/distill/kl_loss.h"

#include <ATen/ATen.h>

namespace regroup {
namespace {

/// Returns the sum of p (log p - log q) over some tokens and replaces their `student_logits` by weight (q - p).
at::Tensor TakeDivergence(at::Tensor student_logits, const at::Tensor& teacher_logits, double weight) {
  at::Tensor log_q = at::log_softmax(student_logits.to(at::kFloat), -1);
  at::Tensor log_p = at::log_softmax(teacher_logits.to(at::kFloat), -1);
  const at::Tensor p = log_p.exp();
  const at::Tensor divergence = log_p.sub_(log_q).mul_(p).sum().to(at::kDouble);
  student_logits.copy_(log_q.exp_().sub_(p).mul_(weight));
  return divergence;
}

}  // namespace

at::Tensor ChunkedKlLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                         const at::Tensor& teacher_hidden, const Linear& teacher_projection, double weight,
                         const ChunkedLossOptions& options) {
  return ChunkedLoss(student_hidden, student_projection, teacher_hidden, teacher_projection, TakeDivergence, weight,
                     options);
}

}  // namespace regroup
