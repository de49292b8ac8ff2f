#include "trainer/distill/kl_loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace regroup {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class KlFunction : public torch::autograd::Function<KlFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& student, const at::Tensor& student_projection,
                            const at::Tensor& teacher, const at::Tensor& teacher_projection, double weight,
                            int64_t chunk_tokens) {
    const int64_t tokens = student.size(0);
    at::Tensor loss = at::zeros({}, student.options().dtype(at::kDouble));
    at::Tensor student_gradient = at::empty_like(student);
    at::Tensor projection_gradient;
    if (student_projection.requires_grad()) projection_gradient = at::zeros_like(student_projection);
    for (int64_t start = 0; start < tokens; start += chunk_tokens) {
      const int64_t count = std::min(chunk_tokens, tokens - start);
      const at::Tensor hidden = student.narrow(0, start, count);
      const at::Tensor log_q = at::log_softmax(at::linear(hidden, student_projection).to(at::kFloat), -1);
      const at::Tensor log_p =
          at::log_softmax(at::linear(teacher.narrow(0, start, count), teacher_projection).to(at::kFloat), -1);
      const at::Tensor p = log_p.exp();
      loss += (p * (log_p - log_q)).sum().to(at::kDouble);
      const at::Tensor logits_gradient = ((log_q.exp() - p) * weight).to(student.scalar_type());
      at::Tensor rows = student_gradient.narrow(0, start, count);
      at::mm_out(rows, logits_gradient, student_projection);
      if (projection_gradient.defined()) projection_gradient.addmm_(logits_gradient.t(), hidden);
    }
    context->save_for_backward({student_gradient, projection_gradient});
    return (loss * weight).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor scale = outputs[0];
    const at::Tensor projection = saved[1].defined() ? saved[1] * scale.to(saved[1].scalar_type()) : at::Tensor();
    return {saved[0] * scale.to(saved[0].scalar_type()), projection, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor ChunkedKlLoss(const at::Tensor& student_hidden, const at::Tensor& student_projection,
                         const at::Tensor& teacher_hidden, const at::Tensor& teacher_projection, double weight,
                         const KlLossOptions& options) {
  return KlFunction::apply(student_hidden, student_projection, teacher_hidden, teacher_projection, weight,
                           options.chunk_tokens);
}

}  // namespace regroup
