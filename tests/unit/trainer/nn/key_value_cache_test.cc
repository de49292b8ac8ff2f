#include "trainer/nn/key_value_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/nn/transformer.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

at::Tensor SomeTokens(int64_t batch, int64_t length) {
  at::manual_seed(5);
  return at::randint(0, 23, {batch, length}, at::kLong);
}

at::Tensor CachedLogits(const Model& model, const at::Tensor& tokens, const std::vector<int64_t>& pieces) {
  KeyValueCache cache(model.config, tokens.size(0), tokens.size(1), at::kFloat, at::kCPU);
  std::vector<at::Tensor> logits;
  for (const int64_t piece : pieces) {
    const at::Tensor next = tokens.narrow(1, cache.length(), piece);
    logits.push_back(RunOutputProjection(model, RunCachedHiddenStates(model, next, cache)));
  }
  EXPECT_EQ(cache.length(), tokens.size(1));
  return at::cat(logits, 1);
}

class CachedModelTest : public testing::TestWithParam<int64_t> {
 protected:
  const Model model_ = RandomModel(SmallConfig(GetParam()), /*with_biases=*/true, 11);
};

TEST_P(CachedModelTest, GivesTheLogitsOfTheWholeSequenceHoweverItIsCut) {
  const at::Tensor tokens = SomeTokens(3, 13);
  const at::Tensor expected = SlowLogits(model_, tokens);
  for (const std::vector<int64_t>& pieces : std::vector<std::vector<int64_t>>{
           {13}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {6, 1, 1, 1, 1, 1, 1, 1}, {5, 7, 1}, {1, 12}}) {
    const at::Tensor logits = CachedLogits(model_, tokens, pieces).to(at::kDouble);
    EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>())
        << "pieces start with " << pieces.front();
  }
}

TEST_P(CachedModelTest, ForgetsWhatIsOutsideOfALayersWindow) {
  ModelConfig config = MixedConfig(GetParam());
  config.attention_soft_cap = 0.8;
  for (const int64_t width : {6, 16}) {  // With matrix products, and with the loops of grouped_products.h.
    config.head_width = width;
    const Model model = RandomModel(config, /*with_biases=*/true, 11);
    const at::Tensor tokens = SomeTokens(3, 13);
    const at::Tensor expected = SlowLogits(model, tokens);
    for (const std::vector<int64_t>& pieces : std::vector<std::vector<int64_t>>{
             {13}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {6, 1, 1, 1, 1, 1, 1, 1}, {2, 2, 7, 2}, {1, 12}}) {
      const at::Tensor logits = CachedLogits(model, tokens, pieces).to(at::kDouble);
      EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>())
          << "pieces start with " << pieces.front();
    }
  }
}

TEST_P(CachedModelTest, AddsTheBiasOfPositions) {
  ModelConfig config = SmallConfig(GetParam());
  config.kinds[0].rotary = {};
  config.alibi = true;
  for (const int64_t width : {6, 16}) {  // With matrix products, and with the loops of grouped_products.h.
    config.head_width = width;
    const Model model = RandomModel(config, /*with_biases=*/true, 11);
    const at::Tensor tokens = SomeTokens(3, 13);
    const at::Tensor expected = RunOutputProjection(model, RunHiddenStates(model, tokens));
    const at::Tensor logits = CachedLogits(model, tokens, {6, 1, 1, 1, 1, 1, 2});
    EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
  }
}

TEST_P(CachedModelTest, ATruncatedCacheContinuesAsIfTheForgottenTokensHadNotBeen) {
  const at::Tensor tokens = SomeTokens(2, 10);
  KeyValueCache cache(model_.config, 2, 16, at::kFloat, at::kCPU);
  RunCachedHiddenStates(model_, tokens.narrow(1, 0, 4), cache);
  RunCachedHiddenStates(model_, (tokens.narrow(1, 4, 6) + 1).remainder(23), cache);
  cache.Truncate(4);
  const at::Tensor logits =
      RunOutputProjection(model_, RunCachedHiddenStates(model_, tokens.narrow(1, 4, 6), cache)).to(at::kDouble);
  const at::Tensor expected = SlowLogits(model_, tokens).narrow(1, 4, 6);
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(KeyValueHeads, CachedModelTest, testing::Values(4, 2, 1));

TEST(AttendFoldedTest, LetsEachQueryHeadReadItsOwnGroup) {
  at::manual_seed(3);
  const at::Tensor query = at::randn({2, 6, 1, 4});
  const at::Tensor key = at::randn({2, 3, 7, 4});
  const at::Tensor value = at::randn({2, 3, 7, 4});
  const at::Tensor attended = AttendFolded({.query = query, .key = key, .value = value, .scale = 0.5});
  ASSERT_EQ(attended.sizes(), (at::IntArrayRef{2, 6, 1, 4}));
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t head = 0; head < 6; ++head) {
      const at::Tensor scores = at::mv(key[row][head / 2], query[row][head][0]) / 2.0;
      const at::Tensor expected = at::mv(value[row][head / 2].t(), at::softmax(scores, 0));
      EXPECT_TRUE(at::allclose(attended[row][head][0], expected, 1e-5, 1e-6));
    }
  }
}

TEST(KeyValueCacheTest, CountsTheBytesOfTheTokensInIt) {
  ModelConfig config = SmallConfig(2);
  KeyValueCache cache(config, 5, 20, at::kFloat, at::kCPU);
  EXPECT_EQ(cache.Bytes(), 0);
  cache.FillRandomly(12);
  // Keys and values x 2 layers x 2 heads x 6 entries x 4 bytes, for 5 sequences of 12 tokens.
  EXPECT_EQ(cache.Bytes(), 2 * 2 * 2 * 6 * 4 * 5 * 12);
  EXPECT_EQ(cache.Bytes(), config.KvCacheBytesPerToken(4) * 5 * 12);
}

TEST(KeyValueCacheTest, KeepsTheTokensInAWindowOnly) {
  const ModelConfig config = MixedConfig(2);
  KeyValueCache cache(config, 5, 20, at::kFloat, at::kCPU);
  cache.FillRandomly(12);
  // Keys and values x 2 heads x 6 entries x 4 bytes, for 5 sequences of 5, 12 and 3 tokens.
  EXPECT_EQ(cache.Bytes(), 2 * 2 * 6 * 4 * 5 * (5 + 12 + 3));
  EXPECT_EQ(cache.Bytes(), config.KvCacheBytes(12, 4) * 5);
}

ModelConfig WideConfig(int64_t kv_heads) {
  ModelConfig config = SmallConfig(kv_heads);
  config.head_width = 16;
  config.kinds[0].rotary = {.width = 16, .inverse_frequencies = {1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01}};
  return config;
}

TEST_P(CachedModelTest, GivesTheSameLogitsWithTheGroupedLoops) {
  const Model model = RandomModel(WideConfig(GetParam()), true, 4);
  const at::Tensor tokens = SomeTokens(2, 37);
  const at::Tensor expected = SlowLogits(model, tokens);
  std::vector<int64_t> pieces = {15};
  for (int i = 0; i < 18; ++i) pieces.push_back(1);
  pieces.push_back(4);
  const at::Tensor logits = CachedLogits(model, tokens, pieces).to(at::kDouble);
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
}

TEST(KeyValueCacheTest, NamesHowItAttendsOnACpu) {
  EXPECT_EQ(DecodeAttentionName(SmallConfig(2), 1, 8, at::kFloat, at::kCPU), "folded matmul");
  EXPECT_EQ(DecodeAttentionName(SmallConfig(2), 1, 8, at::kBFloat16, at::kCPU), "folded matmul");
  EXPECT_EQ(DecodeAttentionName(WideConfig(2), 1, 8, at::kFloat, at::kCPU), "grouped loops");
}

}  // namespace
}  // namespace regroup
