#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

at::Tensor SomeTokens() {
  at::manual_seed(5);
  return at::randint(0, 23, {2, 9}, at::kLong);
}

at::Tensor Logits(const Model& model, const at::Tensor& tokens) {
  return RunOutputProjection(model, RunHiddenStates(model, tokens));
}

struct ModelCase {
  const char* name;
  int64_t kv_heads;
  bool biases;
  bool tied;
  Activation activation;
};

class TransformerTest : public testing::TestWithParam<ModelCase> {
 protected:
  static Model MakeModel() {
    const ModelCase& setting = GetParam();
    ModelConfig config = SmallConfig(setting.kv_heads);
    config.tied_embeddings = setting.tied;
    config.activation = setting.activation;
    return RandomModel(config, setting.biases, 11);
  }
};

TEST_P(TransformerTest, ComputesWhatTheSlowLoopsCompute) {
  const Model model = MakeModel();
  const at::Tensor expected = SlowLogits(model, SomeTokens());
  const at::Tensor logits = Logits(model, SomeTokens()).to(at::kDouble);
  ASSERT_EQ(logits.sizes(), expected.sizes());
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
}

TEST_P(TransformerTest, LooksAtNoLaterToken) {
  const Model model = MakeModel();
  const at::Tensor tokens = SomeTokens();
  at::Tensor changed = tokens.clone();
  changed.select(1, 6).add_(1).remainder_(23);
  const at::Tensor before = Logits(model, tokens);
  const at::Tensor after = Logits(model, changed);
  EXPECT_TRUE(at::allclose(before.narrow(1, 0, 6), after.narrow(1, 0, 6), 0, 1e-6));
  EXPECT_FALSE(at::allclose(before.narrow(1, 6, 3), after.narrow(1, 6, 3), 0, 1e-2));
}

TEST_P(TransformerTest, SequencesOfABatchDoNotSeeEachOther) {
  const Model model = MakeModel();
  const at::Tensor tokens = SomeTokens();
  EXPECT_TRUE(at::allclose(Logits(model, tokens)[1], Logits(model, tokens.narrow(0, 1, 1))[0], 0, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(Shapes, TransformerTest,
                         testing::Values(ModelCase{"MultiHead", 4, false, false, Activation::kSilu},
                                         ModelCase{"GroupedWithBiases", 2, true, false, Activation::kGelu},
                                         ModelCase{"OneKeyHeadTied", 1, false, true, Activation::kGeluTanh},
                                         ModelCase{"MultiHeadTiedWithBiases", 4, true, true, Activation::kRelu},
                                         ModelCase{"GroupedSquared", 2, false, false, Activation::kSquaredRelu}),
                         [](const auto& info) { return info.param.name; });

TEST(AttentionKindsTest, EachLayerHasItsOwnWindowAndPositions) {
  const Model model = RandomModel(MixedConfig(2), /*with_biases=*/true, 6);
  const at::Tensor expected = SlowLogits(model, SomeTokens());
  const at::Tensor logits = Logits(model, SomeTokens()).to(at::kDouble);
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
}

TEST(AttentionKindsTest, LogitsAreCappedSoftly) {
  Model model = RandomModel(MixedConfig(2), /*with_biases=*/true, 6);
  const at::Tensor plain = SlowLogits(model, SomeTokens());
  model.config.attention_soft_cap = 0.7;
  model.config.logit_soft_cap = 0.9;
  const at::Tensor expected = SlowLogits(model, SomeTokens());
  ASSERT_GT((plain.clamp(-0.9, 0.9) - expected).abs().max().item<double>(), 0.1) << "the caps change nothing";
  const at::Tensor logits = Logits(model, SomeTokens()).to(at::kDouble);
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5);
}

TEST(AttentionKindsTest, TheCacheGrowsInLayersWithoutWindowOnly) {
  const ModelConfig config = MixedConfig(2);
  // Keys and values x 2 heads x 6 entries x 2 bytes.
  EXPECT_EQ(config.KvCacheBytesPerToken(2), 48 * 3);
  EXPECT_EQ(config.KvCacheBytes(4, 2), 48 * (4 + 4 + 3));
  EXPECT_EQ(config.KvCacheBytes(100, 2), 48 * (5 + 100 + 3));
  EXPECT_EQ(config.GrowingKvCacheBytesPerToken(2), 48);
}

TEST(ExpertsTest, TokensUseTheExpertsWithTheLargestProbabilities) {
  for (const bool normalised : {false, true}) {
    for (const int64_t shared_width : {0, 9}) {
      ModelConfig config = ExpertsConfigOf(2);
      config.experts.normalised = normalised;
      config.experts.shared_width = shared_width;
      const Model model = RandomModel(config, /*with_biases=*/false, 6);
      const at::Tensor expected = SlowLogits(model, SomeTokens());
      const at::Tensor logits = Logits(model, SomeTokens()).to(at::kDouble);
      EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
    }
  }
}

TEST(ExpertsTest, EachHasASlotOfItsOwn) {
  const ModelConfig config = ExpertsConfigOf(2);
  Model model = EmptyModel(config);
  std::set<std::string> names;
  VisitParameters(model, [&](const std::string& name, at::Tensor&) { names.insert(name); });
  EXPECT_TRUE(names.contains("layers.2.feed_forward.experts.4.down.weight"));
  EXPECT_TRUE(names.contains("layers.0.feed_forward.router.weight"));
  EXPECT_FALSE(names.contains("layers.1.feed_forward.router.weight"));
  int linears = 0;
  VisitLinears(model, [&](Linear&) { ++linears; });
  EXPECT_EQ(linears, 3 * 7 + 2 * 5 * 3 + 1) << "of attention and feed-forward, of the experts, and the head";
}

TEST(GroupedAttentionTest, EqualsMultiHeadAttentionWithRepeatedKeysAndValues) {
  const Model grouped = RandomModel(SmallConfig(2), /*with_biases=*/true, 4);
  Model repeated = grouped;
  const auto repeat = [](at::Tensor& rows) {
    rows = rows.unflatten(0, {2, 6}).repeat_interleave(2, 0).flatten(0, 1).contiguous();
  };
  for (Block& block : repeated.blocks) {
    repeat(block.attention.key.weight);
    repeat(block.attention.key.bias);
    repeat(block.attention.value.weight);
    repeat(block.attention.value.bias);
  }
  repeated.config.kv_heads = 4;
  EXPECT_TRUE(at::allclose(Logits(grouped, SomeTokens()), Logits(repeated, SomeTokens()), 0, 1e-5));
}

TEST(RunHiddenStatesTest, ShowsEachLayersNormalisedInput) {
  const Model model = RandomModel(SmallConfig(4), false, 2);
  std::vector<int64_t> layers;
  at::Tensor first;
  RunHiddenStates(model, SomeTokens(), {.observer = [&](int64_t layer, const AttentionInputs& inputs) {
                    layers.push_back(layer);
                    if (layer == 0) first = inputs.memory;
                  }});
  EXPECT_EQ(layers, (std::vector<int64_t>{0, 1}));
  const at::Tensor embedded = model.embedding.index_select(0, SomeTokens().flatten()).view({2, 9, 10});
  EXPECT_TRUE(at::equal(first, Normalise(embedded, model.blocks[0].attention_norm, model.config)));
}

TEST(NormaliseTest, AddsOneToTheWeightOfALayerNormThatIsStoredSo) {
  const Norm norm{.weight = at::tensor({0.5, -1.0}, at::kFloat), .bias = at::tensor({0.0, 0.25}, at::kFloat)};
  const ModelConfig config{.norm = NormKind::kLayerPlusOne, .norm_epsilon = 0.0};
  // The mean of 1 and 3 is 2, their deviation 1.
  const at::Tensor result = Normalise(at::tensor({1.0, 3.0}, at::kFloat), norm, config);
  EXPECT_TRUE(at::allclose(result, at::tensor({-1.5, 0.25}, at::kFloat), 0, 1e-6)) << result;
}

TEST(NormaliseTest, WorksInFloat32AndKeepsTheDtype) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({4, 64}).to(at::kBFloat16);
  const Norm norm{at::ones({64}, at::kBFloat16)};
  const at::Tensor result = Normalise(x, norm, ModelConfig{.norm_epsilon = 0.0});
  EXPECT_EQ(result.scalar_type(), at::kBFloat16);
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor expected = wide / wide.square().mean(-1, true).sqrt();
  // One rounding to bfloat16 at the end: half a unit in the last of 8 binary digits, 2^-8 relative.
  EXPECT_LT(((result.to(at::kDouble) - expected) / expected).abs().max().item<double>(), 0.003907);
}

TEST(ModelTest, VisitsEverySlotOnceUnderItsOwnName) {
  Model model = RandomModel(SmallConfig(4), true, 1);
  std::set<std::string> names;
  int visits = 0;
  VisitParameters(model, [&](const std::string& name, at::Tensor&) {
    names.insert(name);
    ++visits;
  });
  EXPECT_EQ(visits, 20 + 2 * 26);
  EXPECT_EQ(names.size(), static_cast<size_t>(visits));
  EXPECT_TRUE(names.contains("layers.1.attention.key.bias"));
}

TEST(ModelTest, ACloneSharesNoStorage) {
  const Model model = RandomModel(SmallConfig(4), true, 1);
  Model clone = CloneModel(model, at::kFloat, at::kCPU);
  const at::Tensor before = model.blocks[1].attention.value.weight.clone();
  VisitParameters(clone, [](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor.zero_();
  });
  EXPECT_TRUE(at::equal(model.blocks[1].attention.value.weight, before));
  EXPECT_GT(before.abs().max().item<double>(), 0.0);
}

TEST(ModelConfigTest, CountsTheBytesOfKeysAndValuesOfOneToken) {
  // 2 (keys and values) x 2 layers x 2 KV heads x 6 entries x 2 bytes.
  EXPECT_EQ(SmallConfig(2).KvCacheBytesPerToken(2), 96);
}

}  // namespace
}  // namespace regroup
