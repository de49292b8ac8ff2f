#include "trainer/eval/agreement.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trainer/eval/window_batch.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

struct Sums {
  double divergence = 0;
  int64_t same = 0;
  int64_t positions = 0;
};

/// One window at a time: logits of more would be the largest tensors by far.
Sums CompareWindow(const Model& reference, const Model& model, const at::Tensor& tokens_1T) {
  const auto log_probabilities = [&](const Model& one) {
    return at::log_softmax(RunOutputProjection(one, RunHiddenStates(one, tokens_1T)[0]).to(at::kFloat), -1);
  };
  const at::Tensor log_p = log_probabilities(reference);
  const at::Tensor log_q = log_probabilities(model);
  const at::Tensor divergence = (log_p.exp() * (log_p - log_q)).sum(-1, false, at::kDouble).sum();
  return {divergence.item<double>(), log_p.argmax(-1).eq(log_q.argmax(-1)).sum().item<int64_t>(), log_p.size(0)};
}

}  // namespace

Agreement MeasureAgreement(const Model& reference, const Model& model, const TokenWindows& windows, int64_t max_windows,
                           at::Device device, const std::function<void(int64_t)>& progress) {
  at::NoGradGuard no_gradients;
  const int64_t count = max_windows > 0 ? std::min(max_windows, windows.windows()) : windows.windows();
  Agreement agreement;
  Sums total;
  for (int64_t window = 0; window < count; ++window) {
    const Sums sums = CompareWindow(reference, model, WindowBatch(windows, {window}, device));
    total.divergence += sums.divergence;
    total.same += sums.same;
    agreement.positions += sums.positions;
    progress(window + 1);
  }
  if (agreement.positions == 0) return agreement;
  agreement.mean_kl = total.divergence / static_cast<double>(agreement.positions);
  agreement.same_top_token = static_cast<double>(total.same) / static_cast<double>(agreement.positions);
  return agreement;
}

}  // namespace regroup
