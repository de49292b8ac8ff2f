#include "trainer/eval/agreement.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "services/common/base/status_macros.h"
#include "trainer/eval/window_batch.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

/// Returns {sum of divergences, positions with the same top token, positions}, float64 [3]. Takes one window at a time,
/// because the logits of several windows would be by far the largest tensors.
at::Tensor CompareWindow(const Model& reference, const Model& model, const at::Tensor& tokens_1T) {
  const auto log_probabilities = [&](const Model& one) {
    return at::log_softmax(RunOutputProjection(one, RunHiddenStates(one, tokens_1T)[0]).to(at::kFloat), -1);
  };
  const at::Tensor log_p = log_probabilities(reference);
  const at::Tensor log_q = log_probabilities(model);
  const at::Tensor divergence = (log_p.exp() * (log_p - log_q)).sum(-1, false, at::kDouble).sum();
  const at::Tensor same = log_p.argmax(-1).eq(log_q.argmax(-1)).sum().to(at::kDouble);
  return at::stack({divergence, same, at::full_like(same, static_cast<double>(log_p.size(0)))});
}

}  // namespace

absl::StatusOr<Agreement> MeasureAgreement(const Model& reference, const Model& model, const TokenWindows& windows,
                                           int64_t max_windows, at::Device device, Communicator& communicator,
                                           const std::function<void(int64_t)>& progress) {
  at::NoGradGuard no_gradients;
  const int64_t count = max_windows > 0 ? std::min(max_windows, windows.windows()) : windows.windows();
  at::Tensor sums = at::zeros({3}, at::TensorOptions(device).dtype(at::kDouble));
  for (int64_t window = communicator.rank(); window < count; window += communicator.size()) {
    sums += CompareWindow(reference, model, WindowBatch(windows, {window}, device));
    progress(std::min<int64_t>(window - communicator.rank() + communicator.size(), count));
  }
  REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(sums));
  sums = sums.to(at::kCPU);
  const double positions = std::max(1.0, sums[2].item<double>());
  return Agreement{.mean_kl = sums[0].item<double>() / positions,
                   .same_top_token = sums[1].item<double>() / positions,
                   .positions = static_cast<int64_t>(sums[2].item<double>())};
}

}  // namespace regroup
