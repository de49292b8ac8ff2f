#include "trainer/distill/chunked_loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "trainer/nn/loss_chunk.h"

namespace regroup {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Returns nullopt for an undefined bias, because autograd does not accept undefined tensors.
std::optional<at::Tensor> BiasOf(const Linear& linear) {
  return linear.bias.defined() ? std::optional(linear.bias) : std::nullopt;
}

/// Computes sum += a b with a float32 sum, in blocks of rows, so that a product of lower precision needs little memory.
void AddProduct(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum) {
  if (a.scalar_type() == at::kFloat) {
    sum.addmm_(a, b);
    return;
  }
  constexpr int64_t kRows = 8192;
  for (int64_t start = 0; start < a.size(0); start += kRows) {
    const int64_t count = std::min(kRows, a.size(0) - start);
    sum.narrow(0, start, count) += at::mm(a.narrow(0, start, count), b);
  }
}

/// Returns the number of tokens whose softmax is computed at once. On the CPU it is small to save memory, but large
/// enough that threads do not wait for each other.
int64_t TokensInCache(const at::Tensor& logits) {
  constexpr int64_t kEntries = int64_t{1} << 21;
  return logits.is_cpu() ? std::max<int64_t>(1, kEntries / logits.size(1)) : logits.size(0);
}

/// Does what `loss_of` does for logits that are capped first.
at::Tensor TakeCapped(const LogitLoss& loss_of, at::Tensor student_logits, at::Tensor teacher_logits, double weight,
                      double soft_cap) {
  if (soft_cap == 0) return loss_of(std::move(student_logits), teacher_logits, weight);
  const auto cap = [&](at::Tensor& logits) { logits.div_(soft_cap).tanh_().mul_(soft_cap); };
  cap(student_logits);
  cap(teacher_logits);
  const at::Tensor slope = 1 - (student_logits / soft_cap).square();
  at::Tensor loss = loss_of(student_logits, teacher_logits, weight);
  student_logits.mul_(slope);
  return loss;
}

class ChunkedLossFunction : public torch::autograd::Function<ChunkedLossFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& student, const at::Tensor& student_projection,
                            const std::optional<at::Tensor>& student_bias, const at::Tensor& teacher,
                            const at::Tensor& teacher_projection, const std::optional<at::Tensor>& teacher_bias,
                            const LogitLoss& loss_of, double weight, int64_t chunk_tokens, double soft_cap) {
    const int64_t tokens = student.size(0);
    at::Tensor loss = at::zeros({}, student.options().dtype(at::kDouble));
    at::Tensor student_gradient = at::empty_like(student);
    at::Tensor projection_gradient;
    // Sums over chunks are float32 for every type of weights: in bfloat16 most of them would be rounded away.
    const at::TensorOptions sums = student.options().dtype(at::kFloat);
    if (student_projection.requires_grad()) projection_gradient = at::zeros(student_projection.sizes(), sums);
    at::Tensor bias_gradient;
    if (student_bias.has_value() && student_bias->requires_grad())
      bias_gradient = at::zeros(student_bias->sizes(), sums);
    for (int64_t start = 0; start < tokens; start += chunk_tokens) {
      const int64_t count = std::min(chunk_tokens, tokens - start);
      const at::Tensor hidden = student.narrow(0, start, count);
      at::Tensor logits_gradient = at::linear(hidden, student_projection, student_bias);
      const at::Tensor teacher_logits = at::linear(teacher.narrow(0, start, count), teacher_projection, teacher_bias);
      const int64_t step = TokensInCache(logits_gradient);
      for (int64_t first = 0; first < count; first += step) {
        const int64_t some = std::min(step, count - first);
        loss += TakeCapped(loss_of, logits_gradient.narrow(0, first, some), teacher_logits.narrow(0, first, some),
                           weight, soft_cap);
      }
      at::Tensor rows = student_gradient.narrow(0, start, count);
      at::mm_out(rows, logits_gradient, student_projection);
      if (projection_gradient.defined()) AddProduct(logits_gradient.t(), hidden, projection_gradient);
      if (bias_gradient.defined()) bias_gradient += logits_gradient.sum(0, /*keepdim=*/false, at::kFloat);
    }
    const auto rounded = [&](const at::Tensor& gradient) {
      return gradient.defined() ? gradient.to(student.scalar_type()) : gradient;
    };
    context->save_for_backward({student_gradient, rounded(projection_gradient), rounded(bias_gradient)});
    return (loss * weight).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor scale = outputs[0];
    // In place, because a copy of the projection's gradient would be the largest tensor of all. Autograd detects a
    // second backward pass.
    const auto scaled = [&](at::Tensor gradient) {
      return gradient.defined() ? gradient.mul_(scale.to(gradient.scalar_type())) : gradient;
    };
    return {scaled(saved[0]), scaled(saved[1]), scaled(saved[2]), {}, {}, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor ChunkedLoss(const at::Tensor& student_hidden, const Linear& student_projection,
                       const at::Tensor& teacher_hidden, const Linear& teacher_projection, const LogitLoss& loss,
                       double weight, const ChunkedLossOptions& options) {
  return ChunkedLossFunction::apply(student_hidden, student_projection.weight, BiasOf(student_projection),
                                    teacher_hidden, teacher_projection.weight, BiasOf(teacher_projection), loss, weight,
                                    options.chunk_tokens.value_or(LossChunkTokens(student_hidden.device())),
                                    options.soft_cap);
}

}  // namespace regroup
