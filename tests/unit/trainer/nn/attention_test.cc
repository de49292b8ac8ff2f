#include "trainer/nn/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace regroup {
namespace {

constexpr int64_t kHeads = 4, kTokens = 7, kWidth = 6;
constexpr double kSoftCap = 0.9, kScale = 0.6;

struct Case {
  const char* name;
  int64_t kv_heads = 2;
  bool causal = true;
  /// Heads of the bias; 0 for none.
  int64_t bias_heads = 0;
  /// Sequences of the bias.
  int64_t bias_batch = 1;
};

class SoftCappedAttentionTest : public testing::TestWithParam<Case> {
 protected:
  static AttentionHeads Random() {
    at::manual_seed(3);
    const Case& one = GetParam();
    AttentionHeads heads{.query = 2 * at::randn({3, kHeads, kTokens, kWidth}),
                         .key = at::randn({3, one.kv_heads, kTokens, kWidth}),
                         .value = at::randn({3, one.kv_heads, kTokens, kWidth}),
                         .causal = one.causal,
                         .scale = kScale,
                         .soft_cap = kSoftCap};
    if (one.bias_heads > 0) heads.bias = at::randn({one.bias_batch, one.bias_heads, kTokens, kTokens});
    return heads;
  }
};

std::vector<at::Tensor> Gradients(AttentionHeads heads, const at::Tensor& upstream, at::ScalarType type,
                                  at::Tensor (*attend)(const AttentionHeads&)) {
  const auto leaf = [&](at::Tensor& tensor) { tensor = tensor.detach().to(type).set_requires_grad(true); };
  for (at::Tensor* tensor : {&heads.query, &heads.key, &heads.value}) leaf(*tensor);
  const at::Tensor attended = attend(heads);
  (attended * upstream.to(type)).sum().backward();
  return {attended.detach(), heads.query.grad(), heads.key.grad(), heads.value.grad()};
}

/// Computes softmax(c tanh(scale q k / c) + bias) v for each query head.
at::Tensor ByDefinition(const AttentionHeads& heads) {
  const auto repeated = [](const at::Tensor& kv) { return kv.repeat_interleave(kHeads / kv.size(1), 1); };
  at::Tensor logits = at::matmul(heads.query, repeated(heads.key).transpose(2, 3)) * heads.scale;
  logits = heads.soft_cap * at::tanh(logits / heads.soft_cap);
  if (heads.bias.defined()) {
    logits = logits + heads.bias;
  } else if (heads.causal) {
    const at::Tensor later = at::ones({kTokens, kTokens}, at::kBool).triu(1);
    logits = logits.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  return at::matmul(at::softmax(logits, -1), repeated(heads.value));
}

TEST_P(SoftCappedAttentionTest, HasTheValuesAndGradientsOfItsDefinition) {
  const AttentionHeads heads = Random();
  const at::Tensor upstream = at::randn_like(heads.query);
  const std::vector<at::Tensor> ours = Gradients(heads, upstream, at::kFloat, Attend);
  const std::vector<at::Tensor> expected = Gradients(heads, upstream, at::kDouble, ByDefinition);
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_LT((ours[i] - expected[i]).abs().max().item<double>(), 1e-5 * expected[i].abs().max().item<double>()) << i;
  }
}

TEST_P(SoftCappedAttentionTest, AHugeCapChangesNothing) {
  AttentionHeads heads = Random();
  heads.soft_cap = 1e6;
  const at::Tensor capped = Attend(heads);
  heads.soft_cap = 0;
  EXPECT_LT((capped - Attend(heads)).abs().max().item<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Heads, SoftCappedAttentionTest,
                         testing::Values(Case{"Grouped"}, Case{"MultiHead", 4}, Case{"OneKvHead", 1},
                                         Case{"EveryToken", 2, false}, Case{"SharedBias", 2, true, 1},
                                         Case{"BiasPerHead", 2, true, kHeads}, Case{"BiasPerSequence", 2, true, 1, 3}),
                         [](const auto& info) { return info.param.name; });

TEST(SoftCappedTest, KeepsValuesBelowTheCapAndBoundsLargeOnes) {
  const at::Tensor capped = SoftCapped(at::tensor({0.01F, -0.01F, 100.0F}), 2.0);
  EXPECT_NEAR(capped[0].item<float>(), 0.01, 1e-6);
  EXPECT_NEAR(capped[1].item<float>(), -0.01, 1e-6);
  EXPECT_NEAR(capped[2].item<float>(), 2.0, 1e-6);
}

}  // namespace
}  // namespace regroup
