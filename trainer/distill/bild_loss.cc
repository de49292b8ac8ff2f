#include "trainer/distill/bild_loss.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace regroup {
namespace {

/// Returns row and column of each pair i < j, int64 [k (k - 1) / 2] each.
std::pair<at::Tensor, at::Tensor> Pairs(int64_t words, at::Device device) {
  const at::Tensor both = at::triu_indices(words, words, 1, at::TensorOptions(device).dtype(at::kLong));
  return {both[0], both[1]};
}

/// Adds the loss with one leader: words_NK are the positions of its largest logits. Adds to the gradient and returns
/// the loss of all tokens.
at::Tensor AddLed(const at::Tensor& words_NK, const at::Tensor& student_NV, const at::Tensor& teacher_NV, double weight,
                  double temperature, at::Tensor& gradient_NV) {
  const auto [high, low] = Pairs(words_NK.size(1), words_NK.device());
  const auto log_shares = [&](const at::Tensor& logits_NV) {
    const at::Tensor chosen = logits_NV.gather(1, words_NK);
    return at::log_softmax((chosen.index_select(1, high) - chosen.index_select(1, low)) / temperature, -1);
  };
  const at::Tensor log_q = log_shares(student_NV), log_p = log_shares(teacher_NV);
  const at::Tensor p = log_p.exp();
  const at::Tensor of_differences = (log_q.exp() - p) * (weight / temperature);
  at::Tensor of_words = at::zeros(words_NK.sizes(), student_NV.options());
  of_words.index_add_(1, high, of_differences).index_add_(1, low, of_differences, -1);
  gradient_NV.scatter_add_(1, words_NK, of_words);
  return (p * (log_p - log_q)).sum().to(at::kDouble);
}

at::Tensor TakeBild(at::Tensor student_logits, const at::Tensor& teacher_logits, double weight,
                    const BildOptions& options) {
  const at::Tensor student = student_logits.to(at::kFloat), teacher = teacher_logits.to(at::kFloat);
  const int64_t words = std::min(options.words, student.size(1));
  at::Tensor gradient = at::zeros_like(student);
  at::Tensor loss = at::zeros({}, student.options().dtype(at::kDouble));
  for (const at::Tensor& leader : {teacher, student}) {
    loss += AddLed(std::get<1>(leader.topk(words, 1)), student, teacher, weight, options.temperature, gradient);
  }
  student_logits.copy_(gradient);
  return loss;
}

}  // namespace

at::Tensor ChunkedBildLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                           const at::Tensor& teacher_hidden, const Linear& teacher_projection, double weight,
                           const BildOptions& bild, const ChunkedLossOptions& options) {
  const auto take = [&bild](at::Tensor student_logits, const at::Tensor& teacher_logits, double given) {
    return TakeBild(std::move(student_logits), teacher_logits, given, bild);
  };
  return ChunkedLoss(student_hidden, student_projection, teacher_hidden, teacher_projection, take, weight, options);
}

}  // namespace regroup
