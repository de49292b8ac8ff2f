#include "trainer/eval/perplexity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/eval/window_batch.h"
#include "trainer/nn/loss_chunk.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

constexpr int64_t kTokensPerBatch = 2048;
constexpr int64_t kShortestContext = 64;

/// Returns the mean losses by context, from the sums over all windows of losses and tokens at each predicted position.
/// `before` is the number of tokens before the first of these. Contexts that no token has are left out.
std::vector<ContextLoss> ByContext(const at::Tensor& losses_P, const at::Tensor& tokens_P, int64_t before) {
  std::vector<ContextLoss> losses;
  const int64_t most = losses_P.size(0) - 1 + before;
  for (int64_t first = before, last = kShortestContext; first <= most; first = last + 1, last *= 2) {
    last = std::min(last, most);
    const auto sum_of = [&](const at::Tensor& each) {
      return each.slice(0, first - before, last + 1 - before).sum().item<double>();
    };
    const double tokens = sum_of(tokens_P);
    if (tokens > 0) losses.push_back({first, last, sum_of(losses_P) / tokens});
  }
  return losses;
}

}  // namespace

at::Tensor TokenLosses(const Model& model, const at::Tensor& tokens_BT, const WindowOptions& options) {
  at::NoGradGuard no_gradients;
  const auto [hidden, targets] = RunPredictions(model, tokens_BT, options);
  // A few tokens at a time, because the logits of all together would be by far the largest tensor.
  const std::vector<at::Tensor> hidden_chunks = hidden.flatten(0, 1).split(LossChunkTokens(hidden.device()));
  const std::vector<at::Tensor> target_chunks = targets.flatten().split(LossChunkTokens(hidden.device()));
  std::vector<at::Tensor> losses;
  for (size_t chunk = 0; chunk < hidden_chunks.size(); ++chunk) {
    const at::Tensor& target = target_chunks[chunk];
    const at::Tensor log_q = at::log_softmax(RunOutputProjection(model, hidden_chunks[chunk]).to(at::kFloat), -1);
    const at::Tensor loss = -log_q.gather(-1, target.clamp_min(0).unsqueeze(-1)).squeeze(-1);
    losses.push_back(at::where(target.ge(0), loss, 0.0));
  }
  return at::cat(losses).view(targets.sizes());
}

absl::StatusOr<Perplexity> MeasurePerplexity(const Model& model, const TokenWindows& windows, at::Device device,
                                             Communicator& communicator, const PerplexityOptions& options) {
  const ModelConfig& config = model.config;
  const int64_t length = windows.sequence_length();
  const int64_t measured =
      options.max_windows > 0 ? std::min(options.max_windows, windows.windows()) : windows.windows();
  const int64_t batch = std::max<int64_t>(1, kTokensPerBatch / config.StreamTokens(length));
  at::Tensor losses = at::zeros({measured}, at::TensorOptions(device).dtype(at::kDouble));
  at::Tensor tokens = at::zeros_like(losses);
  at::Tensor losses_P = at::zeros({config.PredictedTokens(length)}, losses.options());
  at::Tensor tokens_P = at::zeros_like(losses_P);
  const int64_t stride = batch * communicator.size();
  for (int64_t round = 0; round < measured; round += stride) {
    const int64_t start = round + batch * communicator.rank();
    const bool has_share = start < measured;
    if (!has_share && options.lender == nullptr) continue;
    // A rank without windows runs the first ones, so that all ranks borrow blocks together.
    const int64_t first = has_share ? start : 0;
    std::vector<int64_t> indices(std::min(batch, measured - first));
    std::iota(indices.begin(), indices.end(), first);
    const at::Tensor window = WindowBatch(windows, indices, device);
    const at::Tensor losses_BP = TokenLosses(model, window, {.lender = options.lender}).to(at::kDouble);
    if (!has_share) continue;
    const at::Tensor counted_BP = window.slice(1, length - losses_BP.size(1)).ge(0).to(at::kDouble);
    losses.narrow(0, start, window.size(0)).copy_(losses_BP.sum(-1) / counted_BP.sum(-1));
    tokens.narrow(0, start, window.size(0)).copy_(counted_BP.sum(-1));
    losses_P += losses_BP.sum(0);
    tokens_P += counted_BP.sum(0);
    options.progress(std::min(round + stride, measured));
  }
  for (at::Tensor* sum : {&losses, &tokens, &losses_P, &tokens_P}) {
    REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(*sum));
    *sum = sum->to(at::kCPU);
  }
  Perplexity result{.windows = measured, .tokens = tokens.sum().item<int64_t>()};
  result.window_losses.assign(losses.const_data_ptr<double>(), losses.const_data_ptr<double>() + losses.numel());
  result.mean_loss = ((losses * tokens).sum() / tokens.sum()).item<double>();
  result.perplexity = std::exp(result.mean_loss);
  result.by_context = ByContext(losses_P, tokens_P, config.HasEncoder() ? 0 : 1);
  if (result.windows > 1) {
    result.standard_error = losses.std().item<double>() / std::sqrt(static_cast<double>(result.windows));
  }
  return result;
}

}  // namespace regroup
