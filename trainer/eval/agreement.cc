#include "trainer/eval/agreement.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "services/common/base/status_macros.h"
#include "trainer/eval/window_batch.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

/// Runs `visit` on the windows of a rank: every `ranks`-th one. One window at a time, because the logits of several
/// windows would be by far the largest tensors.
void ForEachOwnWindow(int64_t windows, const Communicator& communicator, const std::function<void(int64_t)>& progress,
                      const std::function<void(int64_t)>& visit) {
  for (int64_t window = communicator.rank(); window < windows; window += communicator.size()) {
    visit(window);
    progress(std::min<int64_t>(window - communicator.rank() + communicator.size(), windows));
  }
}

at::Tensor HiddenOf(const Model& model, const TokenWindows& windows, int64_t window, at::Device device) {
  const at::Tensor batch = WindowBatch(windows, {window}, device);
  const at::Tensor hidden = RunHiddenStates(model, batch)[0];
  if (!model.config.ReadsAudio()) return hidden;
  return CountedRows(hidden, batch[0].slice(0, model.config.EncoderInputs(batch.size(1))).ge(0));
}

at::Tensor LogProbabilitiesOf(const Model& model, const at::Tensor& hidden) {
  return at::log_softmax(RunOutputProjection(model, hidden).to(at::kFloat), -1);
}

/// Returns {sum of divergences, positions with the same top token, positions}, float64 [3].
at::Tensor Compare(const at::Tensor& log_p, const at::Tensor& log_q) {
  const at::Tensor divergence = (log_p.exp() * (log_p - log_q)).sum(-1, false, at::kDouble).sum();
  const at::Tensor same = log_p.argmax(-1).eq(log_q.argmax(-1)).sum().to(at::kDouble);
  return at::stack({divergence, same, at::full_like(same, static_cast<double>(log_p.size(0)))});
}

}  // namespace

ReferencePredictions::ReferencePredictions(const Model& reference, const TokenWindows& windows, int64_t max_windows,
                                           at::Device device, const Communicator& communicator,
                                           const std::function<void(int64_t)>& progress)
    : windows_(max_windows > 0 ? std::min(max_windows, windows.windows()) : windows.windows()),
      ranks_(communicator.size()),
      device_(device) {
  const at::NoGradGuard no_gradients;
  output_.config = reference.config;
  output_.head = reference.head;
  if (!reference.head.defined()) output_.embedding = reference.embedding;
  ForEachOwnWindow(windows_, communicator, progress, [&](int64_t window) {
    hidden_.push_back(HiddenOf(reference, windows, window, device).to(at::kCPU));
  });
}

at::Tensor ReferencePredictions::LogProbabilities(int64_t window) const {
  return LogProbabilitiesOf(output_, hidden_[static_cast<size_t>(window / ranks_)].to(device_));
}

absl::StatusOr<Agreement> MeasureAgreement(const ReferencePredictions& reference, const Model& model,
                                           const TokenWindows& windows, at::Device device, Communicator& communicator,
                                           const std::function<void(int64_t)>& progress) {
  const at::NoGradGuard no_gradients;
  at::Tensor sums = at::zeros({3}, at::TensorOptions(device).dtype(at::kDouble));
  ForEachOwnWindow(reference.windows(), communicator, progress, [&](int64_t window) {
    sums += Compare(reference.LogProbabilities(window),
                    LogProbabilitiesOf(model, HiddenOf(model, windows, window, device)));
  });
  REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(sums));
  sums = sums.to(at::kCPU);
  const double positions = std::max(1.0, sums[2].item<double>());
  return Agreement{.mean_kl = sums[0].item<double>() / positions,
                   .same_top_token = sums[1].item<double>() / positions,
                   .positions = static_cast<int64_t>(sums[2].item<double>())};
}

}  // namespace regroup
