#include "trainer/eval/perplexity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/letter_windows.h"
#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/eval/window_batch.h"

namespace regroup {
namespace {

/// Returns -log p of tokens 2..n from logits in float64, one number at a time.
std::vector<double> LossesByHand(const Model& model, const at::Tensor& tokens) {
  const at::Tensor logits = SlowLogits(model, tokens.unsqueeze(0))[0];
  const auto rows = logits.accessor<double, 2>();
  std::vector<double> losses;
  for (int64_t position = 0; position + 1 < tokens.size(0); ++position) {
    double total = 0;
    for (int64_t word = 0; word < logits.size(1); ++word) total += std::exp(rows[position][word]);
    losses.push_back(std::log(total) - rows[position][tokens[position + 1].item<int64_t>()]);
  }
  return losses;
}

TEST(TokenLossesTest, AreTheNegativeLogLikelihoodsOfTheNextTokens) {
  const Model model = RandomModel(SmallConfig(2), true, 6);
  at::manual_seed(4);
  const at::Tensor tokens = at::randint(0, 23, {3, 8}, at::kLong);
  const at::Tensor losses = TokenLosses(model, tokens);
  ASSERT_EQ(losses.sizes(), (at::IntArrayRef{3, 7}));
  for (int64_t row = 0; row < 3; ++row) {
    const std::vector<double> expected = LossesByHand(model, tokens[row]);
    for (int64_t i = 0; i < 7; ++i) EXPECT_NEAR(losses[row][i].item<double>(), expected[i], 2e-5);
  }
}

TEST(PerplexityTest, IsTheExponentialOfTheMeanOverAllWindows) {
  TemporaryFolder folder;
  const Model model = RandomModel(SmallConfig(4), false, 6);
  const TokenWindows windows = LetterWindows(folder.path() / "data.jsonl", 11, 16);
  // 11 texts of 20 letters and an end token, in windows of 16: 14 windows, and a remainder that is dropped.
  ASSERT_EQ(windows.windows(), 14);
  std::vector<double> means;
  for (int64_t window = 0; window < 14; ++window) {
    double sum = 0;
    for (const double loss : LossesByHand(model, WindowBatch(windows, {window}, at::kCPU)[0])) sum += loss;
    means.push_back(sum / 15);
  }
  double mean = 0, squares = 0;
  for (const double value : means) mean += value / 14;
  for (const double value : means) squares += (value - mean) * (value - mean);

  std::vector<int64_t> progress;
  const Perplexity result = *MeasurePerplexity(model, windows, at::kCPU, *MakeSelfCommunicator(),
                                               {.progress = [&](int64_t done) { progress.push_back(done); }});
  EXPECT_NEAR(result.mean_loss, mean, 1e-5);
  EXPECT_NEAR(result.perplexity, std::exp(mean), 1e-5 * std::exp(mean));
  // The squared standard error is the sample variance of the windows' means divided by the number of windows.
  EXPECT_NEAR(result.standard_error, std::sqrt(squares / 13 / 14), 1e-5);
  EXPECT_EQ(result.windows, 14);
  EXPECT_EQ(result.tokens, 14 * 15);
  EXPECT_EQ(progress.back(), 14);
}

TEST(PerplexityTest, IsAlsoTakenByContext) {
  TemporaryFolder folder;
  const Model model = RandomModel(SmallConfig(4), false, 6);
  const TokenWindows windows = LetterWindows(folder.path() / "data.jsonl", 22, 150);
  ASSERT_EQ(windows.windows(), 3);
  std::vector<double> sums(149, 0.0);
  for (int64_t window = 0; window < 3; ++window) {
    const auto losses = LossesByHand(model, WindowBatch(windows, {window}, at::kCPU)[0]);
    for (size_t position = 0; position < sums.size(); ++position) sums[position] += losses[position];
  }
  const auto mean = [&sums](int64_t first, int64_t last) {
    return std::accumulate(sums.begin() + first - 1, sums.begin() + last, 0.0) /
           static_cast<double>(3 * (last + 1 - first));
  };
  const Perplexity result = *MeasurePerplexity(model, windows, at::kCPU, *MakeSelfCommunicator(), {});
  ASSERT_EQ(result.by_context.size(), 3u);
  const std::vector<std::pair<int64_t, int64_t>> ranges = {{1, 64}, {65, 128}, {129, 149}};
  for (size_t range = 0; range < ranges.size(); ++range) {
    const ContextLoss& actual = result.by_context[range];
    EXPECT_EQ(std::pair(actual.first, actual.last), ranges[range]);
    EXPECT_NEAR(actual.mean_loss, mean(actual.first, actual.last), 1e-5);
  }
}

TEST(PerplexityTest, OfTheFirstWindowsIsThatOfATextThatEndsThere) {
  TemporaryFolder folder;
  const Model model = RandomModel(SmallConfig(4), false, 6);
  const TokenWindows windows = LetterWindows(folder.path() / "data.jsonl", 11, 16);
  const Perplexity all = *MeasurePerplexity(model, windows, at::kCPU, *MakeSelfCommunicator(), {});
  const Perplexity first = *MeasurePerplexity(model, windows, at::kCPU, *MakeSelfCommunicator(), {.max_windows = 5});
  EXPECT_EQ(first.windows, 5);
  EXPECT_EQ(first.tokens, 5 * 15);
  ASSERT_EQ(first.window_losses.size(), 5u);
  for (size_t window = 0; window < 5; ++window) {
    EXPECT_NEAR(first.window_losses[window], all.window_losses[window], 1e-6);
  }
  const double sum = std::accumulate(all.window_losses.begin(), all.window_losses.begin() + 5, 0.0);
  EXPECT_NEAR(first.mean_loss, sum / 5, 1e-6);
  EXPECT_EQ(MeasurePerplexity(model, windows, at::kCPU, *MakeSelfCommunicator(), {.max_windows = 99})->windows, 14);
}

TEST(PerplexityTest, OfAModelWithoutPreferenceIsItsVocabulary) {
  TemporaryFolder folder;
  Model model = RandomModel(SmallConfig(4), false, 6);
  model.head.weight.zero_();
  const TokenWindows windows = LetterWindows(folder.path() / "data.jsonl", 5, 10);
  const Perplexity result = *MeasurePerplexity(model, windows, at::kCPU, *MakeSelfCommunicator(), {});
  EXPECT_NEAR(result.perplexity, 23.0, 1e-4);
  EXPECT_NEAR(result.standard_error, 0.0, 1e-6);
}

TEST(WindowBatchTest, TakesTheWindowsInTheOrderAsked) {
  TemporaryFolder folder;
  const TokenWindows windows = LetterWindows(folder.path() / "data.jsonl", 5, 10);
  const at::Tensor batch = WindowBatch(windows, {3, 0}, at::kCPU);
  ASSERT_EQ(batch.sizes(), (at::IntArrayRef{2, 10}));
  for (int64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(batch[0][i].item<int64_t>(), windows.Window(3)[i]);
    EXPECT_EQ(batch[1][i].item<int64_t>(), windows.Window(0)[i]);
  }
}

}  // namespace
}  // namespace regroup
