#include "trainer/alignment/key_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "attention_cases.h"
#include "reference_attention.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

/// Returns a layer with weights of norms between 0.5 and 1.5.
CalibratedLayer LayerBehindNorm(KeyNorm norm, const std::string& name = "rotary") {
  AttentionCase attention = CaseNamed(name);
  attention.shape.key_norm = norm;
  CalibratedLayer layer(attention, 5);
  const int64_t entries = norm == KeyNorm::kPerHead ? attention.shape.head_width : layer.weights.key.size(0);
  layer.weights.query_norm = layer.weights.key_norm = at::linspace(0.5, 1.5, entries, at::kDouble);
  return layer;
}

/// Changes the norms so that the two weights of a pair, (t, t + half), differ by this factor.
void SetFactorInPairs(CalibratedLayer& layer, double factor) {
  for (at::Tensor* norm : {&layer.weights.query_norm, &layer.weights.key_norm}) {
    const at::Tensor heads = norm->view({-1, layer.shape.head_width});
    const at::Tensor first = heads.narrow(1, 0, layer.shape.head_width / 2);
    *norm = at::cat({first, factor * first}, 1).flatten();
  }
}

constexpr KeyNorm kNorms[] = {KeyNorm::kPerHead, KeyNorm::kAllHeads};

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

TEST(KeyNorm, KeysAreTurnedAndAveragedAndValuesStillFollowTheMethod) {
  for (const KeyNorm norm : kNorms) {
    CalibratedLayer layer = LayerBehindNorm(norm);
    SetFactorInPairs(layer, 1.2);
    const auto plain = Align(layer, {.method = "none", .compare = "none", .groups = 2});
    const auto signs = Align(layer, {.method = "procrustes", .compare = "none", .groups = 2});
    const auto phases = Align(layer, {.method = "principal", .compare = "none", .groups = 2});
    EXPECT_LT(signs.residual_key, plain.residual_key);
    EXPECT_LT(phases.residual_key, signs.residual_key);
    EXPECT_LT(phases.residual_value, plain.residual_value);
    EXPECT_TRUE(plain.key_pairs_align.select(2, 0).eq(1).all().item<bool>());
    EXPECT_TRUE(signs.key_pairs_align.select(2, 1).eq(0).all().item<bool>());
    for (const LayerAlignment* alignment : {&plain, &signs, &phases}) {
      const at::Tensor turns = at::view_as_complex(alignment->key_pairs_align);
      EXPECT_TRUE(turns.abs().allclose(at::ones_like(turns.abs()), 0, 1e-12));
      EXPECT_TRUE(alignment->query_pairs.equal(alignment->key_pairs_align));
      ExpectFinite(MergeHeads(layer.weights, *alignment, layer.shape).value());
    }
  }
}

TEST(KeyNorm, SignsLeaveTheFunctionAsItIs) {
  for (const KeyNorm norm : kNorms) {
    for (const char* name : {"rotary", "rotary_biases", "partial_rotary", "no_rotary"}) {
      const CalibratedLayer layer = LayerBehindNorm(norm, name);
      const auto alignment = Align(layer, {.method = "procrustes", .compare = "key", .groups = 2});
      EXPECT_TRUE(alignment.key_pairs_align.lt(0).any().item<bool>() ||
                  alignment.key_free_align.lt(0).any().item<bool>());
      const auto aligned = ApplyAlignment(layer.weights, alignment, layer.shape).value();
      EXPECT_LT(OutputChange(layer, aligned, layer.shape.kv_heads), 1e-12) << name;
    }
  }
}

TEST(KeyNorm, PhasesLeaveTheFunctionAsItIsWherePairsHaveEqualWeightsAndNearlyElsewhere) {
  for (const KeyNorm norm : kNorms) {
    for (const auto& [factor, most] : {std::pair(1.0, 1e-12), std::pair(1.05, 0.02)}) {
      CalibratedLayer layer = LayerBehindNorm(norm);
      SetFactorInPairs(layer, factor);
      // Values, whose directions `principal` may drop, are not merged.
      auto alignment = Align(layer, {.method = "principal", .compare = "key", .groups = 2});
      const auto values = Align(layer, {.method = "none", .compare = "none", .groups = layer.shape.kv_heads});
      alignment.value_align = values.value_align;
      alignment.value_output = values.value_output;
      EXPECT_GT(alignment.key_pairs_align.select(2, 1).abs().max().item<double>(), 0.1);
      const auto aligned = ApplyAlignment(layer.weights, alignment, layer.shape).value();
      EXPECT_LT(OutputChange(layer, aligned, layer.shape.kv_heads), most) << factor;
    }
  }
}

// A phase of all heads of a group would change nothing but the root mean square.
TEST(KeyNorm, HeadsThatAgreeDoNotTurn) {
  CalibratedLayer layer = LayerBehindNorm(KeyNorm::kPerHead);
  SetFactorInPairs(layer, 1.2);
  const int64_t width = layer.shape.head_width;
  layer.weights.key = layer.weights.key.narrow(0, 0, width).repeat({layer.shape.kv_heads, 1});
  layer.Recalibrate();
  const auto alignment = Align(layer, {.method = "principal", .compare = "none", .groups = 1});
  EXPECT_LT(alignment.key_pairs_align.select(2, 1).abs().max().item<double>(), 1e-6);
  const at::Tensor signs = alignment.key_pairs_align.select(2, 0);
  EXPECT_TRUE(signs.allclose(signs.narrow(0, 0, 1).expand_as(signs), 0, 1e-6));
}

TEST(KeyNorm, PairsOfVeryDifferentWeightsChangeTheirSignsOnly) {
  for (const KeyNorm norm : kNorms) {
    CalibratedLayer layer = LayerBehindNorm(norm);
    SetFactorInPairs(layer, 1.6);
    const auto alignment = Align(layer, {.method = "principal", .compare = "key", .groups = 2});
    EXPECT_TRUE(alignment.key_pairs_align.select(2, 1).eq(0).all().item<bool>());
  }
}

TEST(KeyNorm, HeadsThatDifferByTurnsMergeWithoutLoss) {
  for (const KeyNorm norm : kNorms) {
    for (const char* method : {"procrustes", "principal"}) {
      CalibratedLayer layer = LayerBehindNorm(norm);
      layer.weights.query_norm = layer.weights.key_norm = at::ones_like(layer.weights.key_norm);
      const bool turns = std::string_view(method) == "principal";
      const int64_t width = layer.shape.head_width, half = width / 2;
      // Head 1 is head 0 with its first pair turned by half a turn, or by a quarter, in keys and queries.
      for (at::Tensor* weight : {&layer.weights.key, &layer.weights.query}) {
        *weight = weight->clone();
        const at::Tensor from = weight->narrow(0, 0, width), to = weight->narrow(0, width, width);
        to.copy_(from);
        to[0].copy_(turns ? -from[half] : -from[0]);
        to[half].copy_(turns ? from[0] : -from[half]);
      }
      layer.Recalibrate();
      const int64_t heads = layer.shape.kv_heads;
      auto alignment = Align(layer, {.method = method, .compare = "key", .groups = heads / 2});
      ASSERT_EQ(alignment.Groups().front(), (std::vector<int64_t>{0, 1}));
      const auto merged = MergeHeads(layer.weights, alignment, layer.shape).value();
      const auto head = [&](const at::Tensor& rows, int64_t index) { return rows.narrow(0, index * width, width); };
      const auto direction = [](const at::Tensor& rows) { return rows / rows.norm(); };
      const auto spread = SpreadHeads(merged, alignment, layer.shape).value();
      EXPECT_TRUE(direction(head(spread.key, 0)).allclose(direction(head(layer.weights.key, 0)), 0, 1e-9)) << method;
      EXPECT_TRUE(direction(head(spread.key, 1)).allclose(direction(head(layer.weights.key, 1)), 0, 1e-9)) << method;
      EXPECT_TRUE(head(merged.query, 1).allclose(head(merged.query, 0), 0, 1e-9)) << method;
    }
  }
}

TEST(KeyNorm, PlainAveragesAreTheSameWithoutStatistics) {
  for (const KeyNorm norm : kNorms) {
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

// Heads that are similar only after a rotation do not count as similar if the method does not turn them.
TEST(KeyNorm, OppositeKeysAreAlikeOnlyWhereSignsMayChange) {
  for (const KeyNorm norm : kNorms) {
    CalibratedLayer layer = LayerBehindNorm(norm);
    if (norm == KeyNorm::kAllHeads) layer.weights.key_norm = at::ones_like(layer.weights.key_norm);
    const auto similarity_with = [&](double sign, std::string_view similarity, const char* method) {
      const int64_t width = layer.shape.head_width;
      layer.weights.key = layer.weights.key.clone();
      layer.weights.key.narrow(0, width, width).copy_(sign * layer.weights.key.narrow(0, 0, width));
      layer.Recalibrate();
      const AlignmentOptions options{
          .method = method, .compare = "key", .similarity = std::string(similarity), .groups = 2};
      return Align(layer, options).grouping_similarity[0][1].item<double>();
    };
    for (const auto* similarity : Similarities()) {
      const double best = similarity->unit_grams ? 1 : 0;  // A cosine of 1, or a distance of 0.
      EXPECT_NEAR(similarity_with(1, similarity->name, "none"), best, 1e-9) << similarity->name;
      EXPECT_LT(similarity_with(-1, similarity->name, "none"), -0.5) << similarity->name;
      EXPECT_NEAR(similarity_with(-1, similarity->name, "procrustes"), best, 1e-9) << similarity->name;
    }
  }
}

TEST(KeyNorm, ResidualSimilarityIsWhatAveragingThePairLoses) {
  for (const KeyNorm norm : kNorms) {
    for (const AlignmentMethod* method : AlignmentMethods()) {
      CalibratedLayer layer = LayerBehindNorm(norm);
      SetFactorInPairs(layer, 1.2);
      const AlignmentOptions options{
          .method = std::string(method->name), .compare = "key", .similarity = "residual", .groups = 2};
      const auto alignment = Align(layer, options);
      const AttentionWeights linear = LineariseNorms(layer.weights, layer.shape, layer.statistics);
      LayerGrams grams = BuildGrams(layer.statistics, linear).value();
      grams.turns = KeyTurnsOf(layer.weights, layer.shape, method->behind_norm);
      const auto keys = FindSimilarity("residual")->of_keys(grams);
      double lost = 0;
      for (const auto& group : alignment.Groups()) lost -= keys.pairs[group[0]][group[1]].item<double>();
      EXPECT_NEAR(alignment.residual_key, lost / keys.self.sum().item<double>(), 1e-12) << method->name;
    }
  }
}

TEST(KeyNorm, SignsAreTheBestOfAll) {
  const CalibratedLayer layer = LayerBehindNorm(KeyNorm::kAllHeads);
  const auto alignment = Align(layer, {.method = "procrustes", .compare = "none", .groups = 1});
  const AttentionWeights linear = LineariseNorms(layer.weights, layer.shape, layer.statistics);
  const LayerGrams grams = BuildGrams(layer.statistics, linear).value();
  const int64_t heads = layer.shape.kv_heads;
  for (int64_t pair = 0; pair < layer.shape.RotaryPairs(); ++pair) {
    const at::Tensor products = at::real(grams.key_pairs[pair]);
    const at::Tensor energies = grams.query_pair_energy.select(1, pair);
    const auto lost = [&](const at::Tensor& signs) {
      const at::Tensor signed_products = products * signs.outer(signs);
      const at::Tensor with_mean = signed_products.mean(1);
      const at::Tensor apart = products.diagonal() - 2 * with_mean + signed_products.mean();
      return (energies * apart).sum().item<double>();
    };
    double best = std::numeric_limits<double>::infinity();
    for (int64_t choice = 0; choice < (int64_t{1} << heads); ++choice) {
      at::Tensor signs = at::ones({heads}, at::kDouble);
      for (int64_t head = 0; head < heads; ++head) {
        if ((choice >> head) & 1) signs[head] = -1;
      }
      best = std::min(best, lost(signs));
    }
    const at::Tensor chosen = alignment.key_pairs_align.select(1, pair).select(1, 0).contiguous();
    EXPECT_NEAR(lost(chosen), best, 1e-9 * std::abs(best)) << pair;
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
  for (const KeyNorm norm : kNorms) {
    CalibratedLayer layer = LayerBehindNorm(norm);
    layer.weights.key = at::zeros_like(layer.weights.key);
    layer.Recalibrate();
    const auto alignment = Align(layer, {.method = "principal", .compare = "joint", .groups = 2});
    ExpectFinite(MergeHeads(layer.weights, alignment, layer.shape).value());
  }
}

}  // namespace
}  // namespace regroup
