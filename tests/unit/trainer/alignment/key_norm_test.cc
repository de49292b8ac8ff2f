#include "trainer/alignment/key_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "attention_cases.h"
#include "reference_attention.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

CalibratedLayer LayerBehindNorm(KeyNorm norm) {
  AttentionCase attention = CaseNamed("rotary");
  attention.shape.key_norm = norm;
  CalibratedLayer layer(attention, 5);
  const int64_t entries = norm == KeyNorm::kPerHead ? attention.shape.head_width : layer.weights.key.size(0);
  layer.weights.query_norm = layer.weights.key_norm = at::linspace(0.5, 1.5, entries, at::kDouble);
  return layer;
}

LayerAlignment Align(const CalibratedLayer& layer, const AlignmentOptions& options) {
  auto alignment = AlignLayer(layer.statistics, layer.weights, options);
  EXPECT_TRUE(alignment.ok()) << alignment.status();
  return *alignment;
}

void ExpectFinite(const AttentionWeights& weights) {
  for (const auto* weight : {&weights.query, &weights.key, &weights.value, &weights.output, &weights.key_norm}) {
    EXPECT_TRUE(at::isfinite(*weight).all().item<bool>());
  }
}

TEST(KeyNorm, KeysAreAveragedAndValuesStillFollowTheMethod) {
  for (const KeyNorm norm : {KeyNorm::kPerHead, KeyNorm::kAllHeads}) {
    const CalibratedLayer layer = LayerBehindNorm(norm);
    const auto principal = Align(layer, {.method = "principal", .compare = "none", .groups = 2});
    const auto plain = Align(layer, {.method = "none", .compare = "none", .groups = 2});
    EXPECT_TRUE(principal.key_pairs_align.equal(plain.key_pairs_align));
    EXPECT_TRUE(principal.key_pairs_merge.equal(plain.key_pairs_merge));
    EXPECT_TRUE(principal.query_pairs.equal(plain.query_pairs));
    EXPECT_LT(principal.residual_value, plain.residual_value);
    ExpectFinite(MergeHeads(layer.weights, principal, layer.shape).value());
  }
}

TEST(KeyNorm, PlainAveragesAreTheSameWithoutStatistics) {
  for (const KeyNorm norm : {KeyNorm::kPerHead, KeyNorm::kAllHeads}) {
    const CalibratedLayer layer = LayerBehindNorm(norm);
    const AlignmentOptions options{.method = "none", .compare = "none", .groups = 2};
    const auto with = Align(layer, options);
    const auto without = AlignWithoutStatistics(layer.shape, layer.weights, options);
    ASSERT_TRUE(without.ok()) << without.status();
    EXPECT_TRUE(without->key_pairs_merge.equal(with.key_pairs_merge));
    EXPECT_TRUE(without->key_free_merge.equal(with.key_free_merge));
    EXPECT_TRUE(without->query_pairs.equal(with.query_pairs));
    EXPECT_TRUE(without->value_merge.equal(with.value_merge));
  }
}

// Heads that are similar only after a rotation do not count as similar if heads may not be rotated.
TEST(KeyNorm, OppositeKeysAreNotAlike) {
  for (const KeyNorm norm : {KeyNorm::kPerHead, KeyNorm::kAllHeads}) {
    CalibratedLayer layer = LayerBehindNorm(norm);
    if (norm == KeyNorm::kAllHeads) layer.weights.key_norm = at::ones_like(layer.weights.key_norm);
    const auto similarity_with = [&](double sign, std::string_view similarity) {
      const int64_t width = layer.shape.head_width;
      layer.weights.key = layer.weights.key.clone();
      layer.weights.key.narrow(0, width, width).copy_(sign * layer.weights.key.narrow(0, 0, width));
      layer.Recalibrate();
      const AlignmentOptions options{.compare = "key", .similarity = std::string(similarity), .groups = 2};
      return Align(layer, options).grouping_similarity[0][1].item<double>();
    };
    for (const auto* similarity : Similarities()) {
      const double copies = similarity_with(1, similarity->name), opposites = similarity_with(-1, similarity->name);
      const double best = similarity->unit_grams ? 1 : 0;  // A cosine of 1, or a distance of 0.
      EXPECT_NEAR(copies, best, 1e-9) << similarity->name;
      EXPECT_LT(opposites, -0.5) << similarity->name;
    }
  }
}

TEST(KeyNorm, ResidualSimilarityIsWhatAveragingThePairLoses) {
  for (const KeyNorm norm : {KeyNorm::kPerHead, KeyNorm::kAllHeads}) {
    const CalibratedLayer layer = LayerBehindNorm(norm);
    const auto alignment = Align(layer, {.compare = "key", .similarity = "residual", .groups = 2});
    const AttentionWeights linear = LineariseNorms(layer.weights, layer.shape, layer.statistics);
    const auto keys = FindSimilarity("residual")->of_keys(BuildGrams(layer.statistics, linear).value());
    double lost = 0;
    for (const auto& group : alignment.Groups()) lost -= keys.pairs[group[0]][group[1]].item<double>();
    EXPECT_NEAR(alignment.residual_key, lost / keys.self.sum().item<double>(), 1e-12);
  }
}

TEST(KeyNorm, HeadsCountTheSameWhateverTheSizeOfTheirRows) {
  CalibratedLayer layer = LayerBehindNorm(KeyNorm::kPerHead);
  const int64_t width = layer.shape.head_width;
  const auto head = [&](const at::Tensor& rows, int64_t index) { return rows.narrow(0, index * width, width); };
  const auto direction = [](const at::Tensor& rows) { return rows / rows.norm(); };
  const auto wanted = direction(direction(head(layer.weights.key, 0)) + direction(head(layer.weights.key, 1)));
  layer.weights.key = layer.weights.key.clone();
  head(layer.weights.key, 1).mul_(50);
  layer.Recalibrate();
  const auto alignment = Align(layer, {.method = "none", .compare = "none", .groups = 2});
  const auto merged = MergeHeads(layer.weights, alignment, layer.shape).value();
  EXPECT_TRUE(direction(head(merged.key, 0)).allclose(wanted, 0, 1e-12));
}

TEST(KeyNorm, KeysOfZeroStayFinite) {
  for (const KeyNorm norm : {KeyNorm::kPerHead, KeyNorm::kAllHeads}) {
    CalibratedLayer layer = LayerBehindNorm(norm);
    layer.weights.key = at::zeros_like(layer.weights.key);
    layer.Recalibrate();
    const auto alignment = Align(layer, {.method = "principal", .compare = "joint", .groups = 2});
    ExpectFinite(MergeHeads(layer.weights, alignment, layer.shape).value());
  }
}

}  // namespace
}  // namespace regroup
