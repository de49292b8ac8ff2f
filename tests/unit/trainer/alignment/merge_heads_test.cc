#include "trainer/alignment/merge_heads.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention_cases.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

struct Case {
  AttentionCase attention;
  std::string method;

  friend void PrintTo(const Case& c, std::ostream* stream) { *stream << c.attention.name << " by " << c.method; }
};

std::vector<Case> EveryMethodOnEveryAttention() {
  std::vector<Case> cases;
  for (const auto& attention : AttentionCases()) {
    for (const auto* method : AlignmentMethods()) cases.push_back({attention, std::string(method->name)});
  }
  return cases;
}

class MergeHeadsTest : public testing::TestWithParam<Case> {
 protected:
  CalibratedLayer layer_{GetParam().attention, 11};

  LayerAlignment Align(int64_t groups, const std::string& compare = "joint", std::optional<bool> restore = {}) {
    auto alignment =
        AlignLayer(layer_.statistics, layer_.weights,
                   {.method = GetParam().method, .compare = compare, .groups = groups, .restore_norm = restore});
    EXPECT_TRUE(alignment.ok()) << alignment.status();
    return *alignment;
  }

  double AlignedChange(const LayerAlignment& alignment) {
    const auto aligned = ApplyAlignment(layer_.weights, alignment, layer_.shape);
    EXPECT_TRUE(aligned.ok()) << aligned.status();
    return OutputChange(layer_, *aligned, layer_.shape.kv_heads);
  }

  double MergedChange(const LayerAlignment& alignment) {
    const auto merged = MergeHeads(layer_.weights, alignment, layer_.shape);
    EXPECT_TRUE(merged.ok()) << merged.status();
    return OutputChange(layer_, *merged, alignment.GroupCount());
  }
};

INSTANTIATE_TEST_SUITE_P(Every, MergeHeadsTest, testing::ValuesIn(EveryMethodOnEveryAttention()),
                         [](const auto& info) { return info.param.attention.name + "_" + info.param.method; });

TEST_P(MergeHeadsTest, AlignmentAloneLeavesTheOutputUnchanged) { EXPECT_LT(AlignedChange(Align(2)), 1e-9); }

TEST_P(MergeHeadsTest, GroupsOfOneMergeWithoutChange) { EXPECT_LT(MergedChange(Align(layer_.shape.kv_heads)), 1e-9); }

TEST_P(MergeHeadsTest, SpreadingGroupsOfOneGivesTheSourcesRows) {
  const LayerAlignment alignment = Align(layer_.shape.kv_heads);
  const auto merged = MergeHeads(layer_.weights, alignment, layer_.shape);
  ASSERT_TRUE(merged.ok()) << merged.status();
  const auto spread = SpreadHeads(*merged, alignment, layer_.shape);
  ASSERT_TRUE(spread.ok()) << spread.status();
  const auto change = [](const at::Tensor& rows, const at::Tensor& weight) {
    return ((rows - weight.to(at::kDouble)).abs().max() / weight.abs().max()).item<double>();
  };
  EXPECT_LT(change(spread->key, layer_.weights.key), 1e-9);
  EXPECT_LT(change(spread->value, layer_.weights.value), 1e-9);
}

TEST_P(MergeHeadsTest, MergingRandomHeadsDoesChangeTheOutput) { EXPECT_GT(MergedChange(Align(2)), 1e-3); }

TEST_P(MergeHeadsTest, SharedQueriesAndOutputsEqualThoseOfTheAlignedLayer) {
  const auto alignment = Align(2);
  const auto aligned = ApplyAlignment(layer_.weights, alignment, layer_.shape);
  const auto merged = MergeHeads(layer_.weights, alignment, layer_.shape);
  EXPECT_TRUE(aligned->query.equal(merged->query));
  EXPECT_TRUE(aligned->output.equal(merged->output));
  EXPECT_EQ(merged->key.size(0), 2 * layer_.shape.head_width);
  EXPECT_EQ(merged->value.size(0), 2 * layer_.shape.value_width);
  EXPECT_EQ(merged->key_bias.defined(), layer_.weights.key_bias.defined());
}

TEST_P(MergeHeadsTest, ResultsKeepTheTypeOfTheWeights) {
  const auto alignment = Align(2);
  auto weights = layer_.weights;
  for (auto* weight : {&weights.query, &weights.key, &weights.value, &weights.output}) *weight = weight->to(at::kFloat);
  const auto merged = MergeHeads(weights, alignment, layer_.shape);
  EXPECT_EQ(merged->key.scalar_type(), at::kFloat);
  EXPECT_EQ(merged->output.scalar_type(), at::kFloat);
}

// Heads 1 and 3 become transforms of head 0, and head 2 stays different: the method must undo every transform that it
// can.
class TransformedHeadsTest : public MergeHeadsTest {
 protected:
  bool Orthogonal() const { return GetParam().method == "procrustes"; }

  at::Tensor FreeTransform(int64_t width, uint64_t seed) {
    const auto rotation = RandomRotation(width, seed);
    if (Orthogonal()) return rotation;
    return rotation.mm(at::diag(at::linspace(0.5, 1.6, width, at::kDouble))).mm(RandomRotation(width, seed + 1));
  }

  // Replaces a head by the transformed source, on rows [heads * width, n] with the bias as a column.
  void ReplaceValues(int64_t head, int64_t source, uint64_t seed) {
    const int64_t width = layer_.shape.value_width;
    const auto transform = FreeTransform(width, seed);
    const auto replace = [&](at::Tensor& rows) {
      if (!rows.defined()) return;
      rows = rows.clone();
      rows.narrow(0, head * width, width)
          .copy_(transform.mm(rows.narrow(0, source * width, width).view({width, -1}))
                     .view_as(rows.narrow(0, head * width, width)));
    };
    replace(layer_.weights.value);
    replace(layer_.weights.value_bias);
  }

  at::Tensor KeyTransform(uint64_t seed) {
    const auto& shape = layer_.shape;
    auto transform = at::eye(shape.head_width, at::kDouble);
    if (shape.FreeWidth() > 0) {
      transform.slice(0, shape.rotary_width).slice(1, shape.rotary_width).copy_(FreeTransform(shape.FreeWidth(), seed));
    }
    for (int64_t pair = 0; pair < shape.RotaryPairs(); ++pair) {
      const int64_t a = shape.interleaved ? 2 * pair : pair;
      const int64_t b = shape.interleaved ? 2 * pair + 1 : pair + shape.rotary_width / 2;
      const double modulus = Orthogonal() ? 1.0 : 0.6 + 0.3 * static_cast<double>(pair);
      const double angle = 0.9 + static_cast<double>(pair + seed);
      transform[a][a] = transform[b][b] = modulus * std::cos(angle);
      transform[a][b] = -modulus * std::sin(angle);
      transform[b][a] = modulus * std::sin(angle);
    }
    return transform;
  }

  void ReplaceKeys(int64_t head, int64_t source, uint64_t seed) {
    const int64_t width = layer_.shape.head_width;
    const auto transform = KeyTransform(seed);
    const auto replace = [&](at::Tensor& rows) {
      if (!rows.defined()) return;
      rows = rows.clone();
      const auto target = rows.narrow(0, head * width, width);
      target.copy_(transform.mm(rows.narrow(0, source * width, width).view({width, -1})).view_as(target));
    };
    replace(layer_.weights.key);
    replace(layer_.weights.key_bias);
  }

  void MakeTransformedHeads() {
    for (const auto& [head, source] : {std::pair<int64_t, int64_t>{2, 0}, {3, 1}}) {
      ReplaceValues(head, source, 40 + head);
      ReplaceKeys(head, source, 70 + head);
    }
    layer_.Recalibrate();
  }
};

INSTANTIATE_TEST_SUITE_P(Every, TransformedHeadsTest, testing::ValuesIn([] {
                           auto cases = EveryMethodOnEveryAttention();
                           std::erase_if(cases, [](const Case& c) { return c.method == "none"; });
                           return cases;
                         }()),
                         [](const auto& info) { return info.param.attention.name + "_" + info.param.method; });

TEST_P(TransformedHeadsTest, AreFoundAndMergedWithoutChange) {
  MakeTransformedHeads();
  const auto alignment = Align(2);
  EXPECT_EQ(alignment.Groups(), (std::vector<std::vector<int64_t>>{{0, 2}, {1, 3}}));
  EXPECT_LT(MergedChange(alignment), 1e-6);
  EXPECT_LT(AlignedChange(alignment), 1e-9);
  EXPECT_LT(alignment.residual_value, 1e-10);
  EXPECT_LT(alignment.residual_key, 1e-10);
  EXPECT_NEAR(alignment.similarity_after, 1.0, 1e-6);
}

TEST(MergeHeads, QueryHeadsFollowTheirKvHead) {
  const auto attention = CaseNamed("grouped_source");
  auto alignment = AverageNeighbours(attention.shape, 2);
  ASSERT_TRUE(alignment.ok());
  alignment->groups = at::tensor({0, 3, 1, 2}, at::kLong).view({2, 2});
  EXPECT_EQ(KvHeadOrder(*alignment), (std::vector<int64_t>{0, 3, 1, 2}));
  EXPECT_EQ(QueryHeadOrder(*alignment, attention.shape), (std::vector<int64_t>{0, 1, 6, 7, 2, 3, 4, 5}));
}

TEST(MergeHeads, AveragingNeighboursTakesTheMeanOfTheirRows) {
  const auto attention = CaseNamed("rotary_biases");
  const auto weights = RandomWeights(attention, 1);
  const auto alignment = AverageNeighbours(attention.shape, 2);
  ASSERT_TRUE(alignment.ok());
  const auto merged = MergeHeads(weights, *alignment, attention.shape);
  ASSERT_TRUE(merged.ok());
  const auto mean = [](const at::Tensor& rows) { return rows.view({2, 2, 8, -1}).mean(1).flatten(0, 1); };
  EXPECT_TRUE(at::allclose(merged->key, mean(weights.key)));
  EXPECT_TRUE(at::allclose(merged->value, mean(weights.value)));
  EXPECT_TRUE(at::allclose(merged->value_bias.unsqueeze(1), mean(weights.value_bias)));
  EXPECT_TRUE(at::allclose(merged->query, weights.query));
  EXPECT_TRUE(at::allclose(merged->output, weights.output));
}

TEST(MergeHeads, WeightsOfAnotherShapeAreNamed) {
  const auto attention = CaseNamed("rotary");
  auto weights = RandomWeights(attention, 1);
  weights.key = weights.key.slice(0, 1);
  const auto merged = MergeHeads(weights, *AverageNeighbours(attention.shape, 2), attention.shape);
  EXPECT_EQ(merged.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(merged.status().message()), testing::HasSubstr("attention weight key"));
}

}  // namespace
}  // namespace regroup
