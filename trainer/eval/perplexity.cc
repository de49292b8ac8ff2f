#include "trainer/eval/perplexity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

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
  // One row at a time: the logits of all rows together would be the largest tensor by far.
  for (int64_t row = 0; row < tokens_BT.size(0); ++row) {
    const at::Tensor log_q = at::log_softmax(RunOutputProjection(model, hidden[row]).to(at::kFloat), -1);
    losses.push_back(-log_q.gather(-1, targets[row].unsqueeze(-1)).squeeze(-1));
  }
  return at::stack(losses);
}

Perplexity MeasurePerplexity(const Model& model, const TokenWindows& windows, at::Device device,
                             const std::function<void(int64_t)>& progress) {
  const int64_t batch = std::max<int64_t>(1, kTokensPerBatch / windows.sequence_length());
  Perplexity result{.windows = windows.windows(),
                    .tokens = windows.windows() * model.config.PredictedTokens(windows.sequence_length())};
  double sum = 0;
  double sum_of_squares = 0;
  for (int64_t start = 0; start < windows.windows(); start += batch) {
    std::vector<int64_t> indices(std::min(batch, windows.windows() - start));
    std::iota(indices.begin(), indices.end(), start);
    const at::Tensor means = TokenLosses(model, WindowBatch(windows, indices, device)).to(at::kDouble).mean(-1);
    const at::Tensor on_cpu = means.to(at::kCPU);
    result.window_losses.insert(result.window_losses.end(), on_cpu.const_data_ptr<double>(),
                                on_cpu.const_data_ptr<double>() + on_cpu.numel());
    sum += means.sum().item<double>();
    sum_of_squares += means.square().sum().item<double>();
    progress(start + static_cast<int64_t>(indices.size()));
  }
  const double count = static_cast<double>(windows.windows());
  result.mean_loss = sum / count;
  result.perplexity = std::exp(result.mean_loss);
  const double variance = std::max(0.0, sum_of_squares / count - result.mean_loss * result.mean_loss);
  result.standard_error = count > 1 ? std::sqrt(variance / (count - 1)) : 0.0;
  return result;
}

}  // namespace regroup
