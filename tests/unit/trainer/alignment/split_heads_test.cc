#include "trainer/alignment/split_heads.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention_cases.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

/// Six KV heads with twelve query heads; a target of 4 splits each KV head in two.
constexpr int64_t kTarget = 4;

AttentionCase SixHeads(AttentionCase attention) {
  attention.shape.query_heads = 12;
  attention.shape.kv_heads = 6;
  return attention;
}

TEST(HeadsForTargetTest, IsTheLeastCommonMultipleOfPossibleTargets) {
  const auto heads = [](int64_t query_heads, int64_t kv_heads, int64_t target) {
    return HeadsForTarget({.query_heads = query_heads, .kv_heads = kv_heads}, target);
  };
  EXPECT_EQ(heads(40, 10, 8), 40);
  EXPECT_EQ(heads(40, 10, 4), 20);
  EXPECT_EQ(heads(24, 12, 8), 24);
  EXPECT_EQ(heads(40, 10, 5), 10);
  EXPECT_EQ(heads(40, 10, 10), 10);
  // Not possible: too many, no divisor of the query heads, none.
  EXPECT_EQ(heads(40, 10, 20), 10);
  EXPECT_EQ(heads(40, 10, 3), 10);
  EXPECT_EQ(heads(40, 10, 0), 10);
}

class SplitHeadsTest : public testing::TestWithParam<AttentionCase> {
 protected:
  CalibratedLayer layer_{SixHeads(GetParam()), 5};

  LayerAlignment Align(std::string_view method) {
    auto alignment = AlignLayer(layer_.statistics, layer_.weights,
                                {.method = std::string(method), .compare = "joint", .groups = kTarget});
    EXPECT_TRUE(alignment.ok()) << alignment.status();
    return *alignment;
  }

  /// Makes the KV heads of each list equal to its first.
  void MakeEqual(const std::vector<std::vector<int64_t>>& classes) {
    for (at::Tensor* rows :
         {&layer_.weights.key, &layer_.weights.key_bias, &layer_.weights.value, &layer_.weights.value_bias}) {
      if (!rows->defined()) continue;
      const auto heads = rows->unflatten(0, {layer_.shape.kv_heads, -1});
      for (const auto& equal : classes) {
        for (const int64_t head : equal) heads[head].copy_(heads[equal.front()].clone());
      }
    }
    layer_.Recalibrate();
  }
};

INSTANTIATE_TEST_SUITE_P(Every, SplitHeadsTest, testing::ValuesIn(AttentionCases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(SplitHeadsTest, CopiesComputeWhatTheirHeadDid) {
  EXPECT_EQ(OutputChange(layer_, SplitHeads(layer_.weights, layer_.shape, 12), 12), 0);
}

// In directions that a group's shared head hardly has, which are those of one head beside two equal copies, the heads
// that `principal` aligns are not exact (principal.cc).
TEST_P(SplitHeadsTest, AlignedCopiesComputeWhatTheLayerDid) {
  for (const auto* method : AlignmentMethods()) {
    const LayerAlignment alignment = Align(method->name);
    EXPECT_EQ(alignment.groups.sizes().vec(), (std::vector<int64_t>{kTarget, 3}));
    const auto aligned = ApplyAlignment(layer_.weights, alignment, layer_.shape);
    ASSERT_TRUE(aligned.ok()) << aligned.status();
    EXPECT_LT(OutputChange(layer_, *aligned, 12), method->name == "principal" ? 0.05 : 1e-9) << method->name;
  }
}

TEST_P(SplitHeadsTest, GroupsThatAreUnionsOfEqualHeadsMergeWithoutLoss) {
  MakeEqual({{0, 2, 5}, {1, 3, 4}});
  for (const auto* method : AlignmentMethods()) {
    const LayerAlignment alignment = Align(method->name);
    const auto merged = MergeHeads(layer_.weights, alignment, layer_.shape);
    ASSERT_TRUE(merged.ok()) << merged.status();
    EXPECT_LT(OutputChange(layer_, *merged, kTarget), 1e-9) << method->name;
    EXPECT_LT(alignment.residual_key + alignment.residual_value, 1e-9) << method->name;
  }
}

TEST_P(SplitHeadsTest, DifferentHeadsLoseWhatTheResidualsSay) {
  for (const auto* method : AlignmentMethods()) {
    const LayerAlignment alignment = Align(method->name);
    const auto merged = MergeHeads(layer_.weights, alignment, layer_.shape);
    ASSERT_TRUE(merged.ok()) << merged.status();
    EXPECT_GT(OutputChange(layer_, *merged, kTarget), 1e-3) << method->name;
    EXPECT_GT(alignment.residual_value, 1e-3) << method->name;
  }
}

TEST_P(SplitHeadsTest, AveragesOfNeighboursTakeEachHeadByItsShare) {
  // Copies 0 to 11 are of the heads 0 0 1 1 2 2 ...; groups of three are 0 0 1 | 1 2 2 | 3 3 4 | 4 5 5.
  const auto merged =
      MergeHeads(layer_.weights, AverageNeighbours(layer_.shape, kTarget).value(), layer_.shape).value();
  const auto keys = layer_.weights.key.unflatten(0, {6, -1});
  const auto ours = merged.key.unflatten(0, {kTarget, -1});
  EXPECT_TRUE(at::allclose(ours[0], (2 * keys[0] + keys[1]) / 3));
  EXPECT_TRUE(at::allclose(ours[3], (keys[4] + 2 * keys[5]) / 3));
}

TEST_P(SplitHeadsTest, StatisticsOfCopiesAreThoseOfALayerThatHasThem) {
  AttentionShape shape = layer_.shape;
  shape.kv_heads = 12;
  LayerStatistics expected(shape, /*unit_grams=*/true);
  AttentionActivations batch =
      ProjectKeysAndValues(layer_.input, SplitHeads(layer_.weights, layer_.shape, shape.kv_heads));
  if (shape.cross_attention) batch.query_input = layer_.query_input;
  expected.Accumulate(batch);
  const NamedTensors ours = layer_.statistics.Split(12).ToTensors(), theirs = expected.ToTensors();
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i].first, theirs[i].first);
    EXPECT_TRUE(at::allclose(ours[i].second, theirs[i].second, 1e-10, 1e-10)) << ours[i].first;
  }
}

TEST_P(SplitHeadsTest, AnAlignmentOfCopiesReturnsFromItsFile) {
  const LayerAlignment alignment = Align("principal");
  const NamedTensors tensors = alignment.ToTensors();
  const auto back = LayerAlignment::FromTensors(layer_.shape, {tensors.begin(), tensors.end()});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->HeadCount(), 12);
  EXPECT_TRUE(back->value_merge.equal(alignment.value_merge));
}

}  // namespace
}  // namespace regroup
