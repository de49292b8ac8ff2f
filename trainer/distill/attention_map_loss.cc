#include "trainer/distill/attention_map_loss.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <functional>

namespace regroup {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A logit that no softmax gives any weight. Unlike minus infinity, its difference from another one is a number.
constexpr double kMasked = -1e30;

/// Returns the bias of a layer as [B or 1, H or 1, T, tokens read], float32; undefined if every token is read.
at::Tensor FiniteBias(const AttentionHeads& heads) {
  if (heads.bias.defined()) return heads.bias.to(at::kFloat).clamp_min(kMasked);
  if (!heads.causal) return {};
  const int64_t tokens = heads.query.size(2);
  const at::Tensor later = at::ones({tokens, tokens}, heads.query.options().dtype(at::kBool)).triu(1);
  return at::zeros(later.sizes(), heads.query.options().dtype(at::kFloat))
      .masked_fill(later, kMasked)
      .view({1, 1, tokens, tokens});
}

/// Selects one sequence of a tensor that may have one entry for all, and one head likewise.
at::Tensor OneOf(const at::Tensor& all, int64_t sequence, int64_t head) {
  if (!all.defined()) return all;
  return all.select(0, all.size(0) == 1 ? 0 : sequence).select(0, all.size(1) == 1 ? 0 : head);
}

/// Returns the KV head that a query head reads.
int64_t KvHeadOf(int64_t head, int64_t heads, int64_t kv_heads) { return head / (heads / kv_heads); }

/// Returns scale q k^T of one head, [T, tokens read], float32, before a soft cap.
at::Tensor Logits(const at::Tensor& query, const at::Tensor& key, double scale) {
  return at::mm(query, key.t()).to(at::kFloat).mul_(scale);
}

/// Returns the log-probabilities of one head, [T, tokens read], float32.
at::Tensor LogProbabilities(const at::Tensor& query, const at::Tensor& key, const at::Tensor& bias,
                            const AttentionHeads& heads) {
  at::Tensor logits = SoftCapped(Logits(query, key, heads.scale), heads.soft_cap);
  if (bias.defined()) logits.add_(bias);
  return at::log_softmax(logits, -1);
}

/// Calls `work(sequence, head)` for all heads: on the CPU one head per thread at a time, each of which then stays in
/// that core's cache.
void ForEachHead(const at::Tensor& query, const std::function<void(int64_t sequence, int64_t head)>& work) {
  const int64_t heads = query.size(1);
  const auto range = [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_gradients;  // Autograd's mode belongs to the thread.
    for (int64_t i = begin; i < end; ++i) work(i / heads, i % heads);
  };
  const int64_t all = query.size(0) * heads;
  if (query.is_cpu()) {
    at::parallel_for(0, all, 1, range);
  } else {
    range(0, all);
  }
}

/// Sums [B, H, S, d] over the query heads of each of the KV heads.
at::Tensor SumOfGroups(const at::Tensor& gradient, int64_t kv_heads) {
  return gradient.unflatten(1, {kv_heads, -1}).sum(2);
}

class AttendAndCompareFunction : public torch::autograd::Function<AttendAndCompareFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                               const at::Tensor& value, const AttentionHeads& student, const AttentionHeads& teacher,
                               double weight) {
    const int64_t heads = query.size(1), kv_heads = key.size(1), teacher_kv_heads = teacher.key.size(1);
    const at::Tensor bias = FiniteBias(student), teacher_bias = FiniteBias(teacher);
    const at::TensorOptions wide = query.options().dtype(at::kFloat);
    at::Tensor probabilities = at::empty({query.size(0), heads, query.size(2), key.size(2)}, wide);
    at::Tensor divergence_gradient = at::empty_like(probabilities);
    at::Tensor attended = at::empty_like(query, at::MemoryFormat::Contiguous);
    // One entry for each head, so that the sum does not depend on the number of threads.
    at::Tensor sums = at::zeros({query.size(0), heads}, wide.dtype(at::kDouble));
    ForEachHead(query, [&](int64_t b, int64_t h) {
      const int64_t kv = KvHeadOf(h, heads, kv_heads);
      const at::Tensor log_q = LogProbabilities(query[b][h], key[b][kv], OneOf(bias, b, h), student);
      const at::Tensor log_p =
          LogProbabilities(teacher.query[b][h], teacher.key[b][KvHeadOf(h, heads, teacher_kv_heads)],
                           OneOf(teacher_bias, b, h), teacher);
      at::Tensor q = probabilities[b][h];
      at::exp_out(q, log_q);
      const at::Tensor p = log_p.exp();
      sums[b][h].copy_((log_p - log_q).mul_(p).sum(at::kDouble));
      at::Tensor gradient = divergence_gradient[b][h];
      at::sub_out(gradient, q, p);
      gradient.mul_(weight);
      attended[b][h].copy_(at::mm(q.to(value.scalar_type()), value[b][kv]));
    });
    context->save_for_backward({query, key, value, probabilities, divergence_gradient});
    context->saved_data["scale"] = student.scale;
    context->saved_data["soft_cap"] = student.soft_cap;
    return {attended, (sums.sum() * weight).to(at::kFloat)};
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &query = saved[0], &key = saved[1], &value = saved[2];
    const at::Tensor &probabilities = saved[3], &divergence_gradient = saved[4];
    const double scale = context->saved_data["scale"].toDouble();
    const double soft_cap = context->saved_data["soft_cap"].toDouble();
    const int64_t heads = query.size(1), kv_heads = key.size(1);
    const at::Tensor attended_gradient = outputs[0].contiguous();
    at::Tensor query_gradient = at::empty_like(query, at::MemoryFormat::Contiguous);
    at::Tensor key_gradient = at::empty({query.size(0), heads, key.size(2), key.size(3)}, key.options());
    at::Tensor value_gradient = at::empty({query.size(0), heads, key.size(2), value.size(3)}, value.options());
    ForEachHead(query, [&](int64_t b, int64_t h) {
      const int64_t kv = KvHeadOf(h, heads, kv_heads);
      const at::Tensor p = probabilities[b][h], upstream = attended_gradient[b][h];
      value_gradient[b][h].copy_(at::mm(p.to(upstream.scalar_type()).t(), upstream));
      at::Tensor logits = at::mm(upstream, value[b][kv].t()).to(at::kFloat);
      const at::Tensor mean = (logits * p).sum(-1, /*keepdim=*/true);
      logits.sub_(mean).mul_(p).addcmul_(divergence_gradient[b][h], outputs[1]).mul_(scale);
      if (soft_cap > 0) logits.mul_(1 - (Logits(query[b][h], key[b][kv], scale) / soft_cap).tanh_().square_());
      const at::Tensor narrow = logits.to(query.scalar_type());
      query_gradient[b][h].copy_(at::mm(narrow, key[b][kv]));
      key_gradient[b][h].copy_(at::mm(narrow.t(), query[b][h]));
    });
    return {query_gradient, SumOfGroups(key_gradient, kv_heads), SumOfGroups(value_gradient, kv_heads), {}, {}, {}};
  }
};

}  // namespace

ComparedAttention AttendAndCompare(const AttentionHeads& student, const AttentionHeads& teacher, double weight) {
  const variable_list results =
      AttendAndCompareFunction::apply(student.query, student.key, student.value, student, teacher, weight);
  return {.attended = results[0], .divergence = results[1]};
}

}  // namespace regroup
