#include "trainer/eval/perplexity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/eval/window_batch.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

constexpr int64_t kTokensPerBatch = 2048;

}  // namespace

at::Tensor TokenLosses(const Model& model, const at::Tensor& tokens_BT, std::optional<int64_t> encoder_tokens) {
  at::NoGradGuard no_gradients;
  const auto [hidden, targets] = RunPredictions(model, tokens_BT, encoder_tokens);
  std::vector<at::Tensor> losses;
  // One row at a time, because the logits of all rows together would be by far the largest tensor.
  for (int64_t row = 0; row < tokens_BT.size(0); ++row) {
    const at::Tensor log_q = at::log_softmax(RunOutputProjection(model, hidden[row]).to(at::kFloat), -1);
    losses.push_back(-log_q.gather(-1, targets[row].unsqueeze(-1)).squeeze(-1));
  }
  return at::stack(losses);
}

absl::StatusOr<Perplexity> MeasurePerplexity(const Model& model, const TokenWindows& windows, at::Device device,
                                             Communicator& communicator, const std::function<void(int64_t)>& progress) {
  const int64_t batch = std::max<int64_t>(1, kTokensPerBatch / windows.sequence_length());
  at::Tensor losses = at::zeros({windows.windows()}, at::TensorOptions(device).dtype(at::kDouble));
  const int64_t stride = batch * communicator.size();
  for (int64_t start = batch * communicator.rank(); start < windows.windows(); start += stride) {
    std::vector<int64_t> indices(std::min(batch, windows.windows() - start));
    std::iota(indices.begin(), indices.end(), start);
    const at::Tensor means = TokenLosses(model, WindowBatch(windows, indices, device)).to(at::kDouble).mean(-1);
    losses.narrow(0, start, means.numel()).copy_(means);
    progress(std::min(start - batch * communicator.rank() + stride, windows.windows()));
  }
  REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(losses));
  losses = losses.to(at::kCPU);
  Perplexity result{.windows = windows.windows(),
                    .tokens = windows.windows() * model.config.PredictedTokens(windows.sequence_length())};
  result.window_losses.assign(losses.const_data_ptr<double>(), losses.const_data_ptr<double>() + losses.numel());
  result.mean_loss = losses.mean().item<double>();
  result.perplexity = std::exp(result.mean_loss);
  if (result.windows > 1) {
    result.standard_error = losses.std().item<double>() / std::sqrt(static_cast<double>(result.windows));
  }
  return result;
}

}  // namespace regroup
