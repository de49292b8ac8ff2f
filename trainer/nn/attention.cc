#include "trainer/nn/attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>
#include <vector>

#include "trainer/nn/detached_inputs.h"
#include "trainer/nn/positions.h"

namespace regroup {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Repeats each KV head for the query heads that read it.
at::Tensor RepeatHeads(const at::Tensor& x_BGTd, int64_t heads) {
  const int64_t repeats = heads / x_BGTd.size(1);
  return repeats == 1 ? x_BGTd : x_BGTd.unsqueeze(2).expand({-1, -1, repeats, -1, -1}).flatten(1, 2);
}

at::Tensor AttendFused(const AttentionHeads& heads) {
  std::optional<at::Tensor> mask;
  if (heads.bias.defined()) mask = heads.bias.to(heads.query.scalar_type());
  const int64_t count = heads.query.size(1);
  return at::scaled_dot_product_attention(heads.query, RepeatHeads(heads.key, count), RepeatHeads(heads.value, count),
                                          mask, /*dropout_p=*/0.0, /*is_causal=*/heads.causal && !mask, heads.scale);
}

/// Factors of one sequence's logits.
struct CappedScale {
  double scale = 1.0;
  double soft_cap = 0;
};

/// Returns the attention [H, T, d] of one sequence: query [H, T, d], key and value [G, tokens read, d], bias
/// [H or 1, T, tokens read].
at::Tensor AttendSequence(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const at::Tensor& bias, const CappedScale& factors) {
  const int64_t groups = key.size(0), tokens = query.size(1);
  const at::Tensor folded = query.unflatten(0, {groups, -1}).flatten(1, 2);
  at::Tensor logits = SoftCapped(at::bmm(folded, key.transpose(1, 2)).to(at::kFloat) * factors.scale, factors.soft_cap);
  logits = logits.unflatten(1, {-1, tokens});
  logits = logits + (bias.size(0) == 1 ? bias.unsqueeze(0) : bias.unflatten(0, {groups, -1}));
  const at::Tensor weights = at::softmax(logits, -1).to(value.scalar_type()).flatten(1, 2);
  return at::bmm(weights, value).unflatten(1, {-1, tokens}).flatten(0, 1);
}

class CappedFunction : public torch::autograd::Function<CappedFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const at::Tensor& bias, const CappedScale& factors) {
    context->save_for_backward({query, key, value, bias});
    context->saved_data["scale"] = factors.scale;
    context->saved_data["soft_cap"] = factors.soft_cap;
    std::vector<at::Tensor> attended;
    for (int64_t b = 0; b < query.size(0); ++b) {
      attended.push_back(AttendSequence(query[b], key[b], value[b], bias[bias.size(0) == 1 ? 0 : b], factors));
    }
    return at::stack(attended);
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const variable_list saved = context->get_saved_variables();
    const CappedScale factors{context->saved_data["scale"].toDouble(), context->saved_data["soft_cap"].toDouble()};
    std::vector<variable_list> of_inputs(3);
    for (int64_t b = 0; b < saved[0].size(0); ++b) {
      const DetachedInputs given({saved[0][b], saved[1][b], saved[2][b]});
      const at::AutoGradMode with_gradients(true);
      const at::Tensor again = AttendSequence(given.inputs[0], given.inputs[1], given.inputs[2],
                                              saved[3][saved[3].size(0) == 1 ? 0 : b], factors);
      const variable_list found = given.GradientsOf(torch::autograd::grad({again}, given.leaves, {outputs[0][b]}));
      for (size_t i = 0; i < of_inputs.size(); ++i) of_inputs[i].push_back(found[i]);
    }
    variable_list gradients;
    for (const variable_list& rows : of_inputs) {
      gradients.push_back(rows.front().defined() ? at::stack(rows) : at::Tensor());
    }
    gradients.resize(5);  // Bias and factors have none.
    return gradients;
  }
};

/// Returns a bias of heads that have none, [1, 1, T, tokens read].
at::Tensor BiasOf(const AttentionHeads& heads) {
  const int64_t tokens = heads.query.size(2), read = heads.key.size(2);
  if (heads.causal) return CausalBias(read - tokens, tokens, /*window=*/0, heads.query.device());
  return at::zeros({1, 1, tokens, read}, heads.query.options().dtype(at::kFloat));
}

}  // namespace

at::Tensor SoftCapped(const at::Tensor& logits, double soft_cap) {
  return soft_cap > 0 ? at::tanh(logits / soft_cap) * soft_cap : logits;
}

at::Tensor Attend(const AttentionHeads& heads) {
  if (heads.soft_cap == 0) return AttendFused(heads);
  return CappedFunction::apply(heads.query, heads.key, heads.value, heads.bias.defined() ? heads.bias : BiasOf(heads),
                               CappedScale{heads.scale, heads.soft_cap});
}

}  // namespace regroup
