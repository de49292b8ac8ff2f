// Tests gradients with and without recomputation, and windows whose documents are kept apart.
#include "trainer/nn/recompute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

at::Tensor SomeTokens() { return at::tensor({3, 1, 4, 1, 5, 9, 2, 6, 5, 8, 7, 3}, at::kLong).view({2, 6}); }

/// Returns the gradients of a random sum of the states with respect to every parameter, in order; and the states.
std::vector<at::Tensor> Gradients(const Model& original, Recompute recompute) {
  Model model = CloneModel(original, at::kFloat, at::kCPU);
  std::vector<at::Tensor> parameters;
  VisitParameters(model, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) parameters.push_back(tensor.set_requires_grad(true));
  });
  const at::Tensor states = RunHiddenStates(model, SomeTokens(), {.recompute = recompute});
  at::manual_seed(4);
  (states * at::randn(states.sizes())).sum().backward();
  std::vector<at::Tensor> found{states.detach()};
  for (const at::Tensor& parameter : parameters) found.push_back(parameter.grad());
  return found;
}

class RecomputeTest : public testing::TestWithParam<Recompute> {
 protected:
  static void ExpectTheSameBits(const Model& model) {
    const std::vector<at::Tensor> kept = Gradients(model, Recompute::kNothing);
    const std::vector<at::Tensor> again = Gradients(model, GetParam());
    ASSERT_EQ(kept.size(), again.size());
    int with_gradient = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      ASSERT_EQ(kept[i].defined(), again[i].defined()) << i;
      if (!kept[i].defined()) continue;
      EXPECT_TRUE(at::equal(kept[i], again[i])) << i;
      ++with_gradient;
    }
    EXPECT_GT(with_gradient, 10);
  }
};

TEST_P(RecomputeTest, GivesTheSameBitsInADecoder) { ExpectTheSameBits(RandomModel(SmallConfig(2), true, 3)); }

TEST_P(RecomputeTest, GivesTheSameBitsInAParallelBlock) {
  ModelConfig config = SmallConfig(4);
  config.layout = BlockLayout::kParallel;
  ExpectTheSameBits(RandomModel(config, true, 3));
}

TEST_P(RecomputeTest, GivesTheSameBitsWithExperts) {
  ExpectTheSameBits(RandomModel(ExpertsConfigOf(2), /*with_biases=*/false, 3));
}

TEST_P(RecomputeTest, GivesTheSameBitsWithSoftCaps) {
  ModelConfig config = MixedConfig(2);
  config.attention_soft_cap = 0.8;
  ExpectTheSameBits(RandomModel(config, true, 3));
}

TEST_P(RecomputeTest, GivesTheSameBitsInAnEncoderDecoder) { ExpectTheSameBits(RandomEncoderDecoder(5)); }

TEST_P(RecomputeTest, CallsAnObserverOnceForEachLayer) {
  Model model = RandomModel(SmallConfig(2), true, 3);
  model.blocks[0].attention.key.weight.set_requires_grad(true);
  int calls = 0;
  RunHiddenStates(model, SomeTokens(),
                  {.recompute = GetParam(), .observer = [&](int64_t, const AttentionInputs&) { ++calls; }})
      .sum()
      .backward();
  EXPECT_EQ(calls, 2);
}

INSTANTIATE_TEST_SUITE_P(Parts, RecomputeTest, testing::Values(Recompute::kFeedForward, Recompute::kBlock),
                         [](const auto& info) { return info.param == Recompute::kBlock ? "Block" : "FeedForward"; });

TEST(PlacesInDocumentsTest, CountFromTheFirstTokenInTheWindow) {
  const at::Tensor documents = at::tensor({4, 4, 5, 5, 5, 9, 2, 2, 2, 2, 2, 3}, at::kLong).view({2, 6});
  const at::Tensor expected = at::tensor({0, 1, 0, 1, 2, 0, 0, 1, 2, 3, 4, 0}, at::kLong).view({2, 6});
  EXPECT_TRUE(at::equal(PlacesInDocuments(documents), expected));
}

/// Compares the states of a window of two documents with those of each document alone.
void ExpectDocumentsApart(const Model& model) {
  const at::Tensor tokens = SomeTokens().view({1, 12});
  const at::Tensor documents = at::tensor({0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1}, at::kLong).view({1, 12});
  const at::Tensor together = RunHiddenStates(model, tokens, {.documents = documents});
  const at::Tensor first = RunHiddenStates(model, tokens.narrow(1, 0, 5));
  const at::Tensor second = RunHiddenStates(model, tokens.narrow(1, 5, 7));
  EXPECT_TRUE(at::allclose(together, at::cat({first, second}, 1), 0, 1e-5));
  EXPECT_FALSE(at::allclose(together, RunHiddenStates(model, tokens), 0, 1e-2));
}

TEST(DocumentsTest, AreAsIfEachStoodAloneWithRotaryPositions) {
  ExpectDocumentsApart(RandomModel(SmallConfig(2), true, 3));
}

TEST(DocumentsTest, AreAsIfEachStoodAloneWithLearnedPositions) {
  ModelConfig config = SmallConfig(2);
  config.kinds[0].rotary = {};
  config.position_offset = 2;
  Model model = RandomModel(config, true, 3);
  model.positions = at::randn({20, config.hidden_size});
  ExpectDocumentsApart(model);
}

TEST(DocumentsTest, AreAsIfEachStoodAloneWithLinearBiases) {
  ModelConfig config = SmallConfig(4);
  config.kinds[0].rotary = {};
  config.alibi = true;
  ExpectDocumentsApart(RandomModel(config, true, 3));
}

}  // namespace
}  // namespace regroup
