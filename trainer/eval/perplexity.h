// Measures perplexity over windows of tokens: exp of the mean negative log-likelihood of tokens 2..n of each window. An
// encoder-decoder reads the first half and is measured on the second half; where its encoder reads audio, it is
// measured on the transcript.
#pragma once

#include <functional>
#include <vector>

#include "trainer/data/token_windows.h"
#include "trainer/nn/model.h"
#include "trainer/nn/window_runner.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

/// The loss of tokens by how many tokens of their window stand before them (for an encoder-decoder, in its decoder).
struct ContextLoss {
  /// The fewest and the most tokens before those that are counted here.
  int64_t first = 0, last = 0;
  double mean_loss = 0;
};

struct Perplexity {
  double perplexity = 0;
  /// Mean negative log-likelihood in nats per token, and its standard error over windows.
  double mean_loss = 0;
  double standard_error = 0;
  int64_t windows = 0;
  int64_t tokens = 0;
  /// Mean loss of each window, for paired comparisons.
  std::vector<double> window_losses;
  /// For contexts of up to 64 tokens, up to 128, and so on by doubling, to the length of the windows.
  std::vector<ContextLoss> by_context;
};

struct PerplexityOptions {
  /// Called with the number of windows done on all ranks, estimated from this rank's share.
  std::function<void(int64_t)> progress = [](int64_t) {};
  /// Measures the first windows alone, at most this many; 0 measures all.
  int64_t max_windows = 0;
  /// Lends the model's blocks, see WindowOptions. Every rank then runs the same number of batches, since all of them
  /// must borrow the same blocks.
  BlockLender* lender = nullptr;
};

/// The ranks of `communicator` share the windows; every rank gets the whole result. Sums are float64.
absl::StatusOr<Perplexity> MeasurePerplexity(const Model& model, const TokenWindows& windows, at::Device device,
                                             Communicator& communicator, const PerplexityOptions& options);

/// Returns the negative log-likelihoods of the tokens of each row of tokens_BT that the model predicts, [B, P],
/// float32; 0 for entries behind a transcript. See RunPredictions for `options`.
at::Tensor TokenLosses(const Model& model, const at::Tensor& tokens_BT, const WindowOptions& options = {});

}  // namespace regroup
