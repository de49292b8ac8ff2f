#include "trainer/alignment/layer_statistics.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention_cases.h"
#include "reference_attention.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/alignment/layer_grams.h"

namespace regroup {
namespace {

double LargestDifference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TensorMap ToMap(const NamedTensors& tensors) { return {tensors.begin(), tensors.end()}; }

at::Tensor UnitRows(const at::Tensor& head) { return head / head.norm(2, 1, true); }

class EveryAttention : public testing::TestWithParam<AttentionCase> {};
INSTANTIATE_TEST_SUITE_P(LayerStatistics, EveryAttention, testing::ValuesIn(AttentionCases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(EveryAttention, GramsFollowFromTheMoments) {
  const CalibratedLayer layer(GetParam(), 3);
  const auto grams = BuildGrams(layer.statistics, layer.weights);
  ASSERT_TRUE(grams.ok()) << grams.status();
  const auto& shape = layer.shape;
  const double tokens = static_cast<double>(layer.input.size(0));
  const auto keys = ProjectHeads(layer.input, layer.weights.key, layer.weights.key_bias, shape.kv_heads);
  const auto values = ProjectHeads(layer.input, layer.weights.value, layer.weights.value_bias, shape.kv_heads);
  const auto queries =
      ProjectHeads(layer.query_input, layer.weights.query, layer.weights.query_bias, shape.query_heads);
  for (int64_t i = 0; i < shape.kv_heads; ++i) {
    for (int64_t j = 0; j < shape.kv_heads; ++j) {
      EXPECT_LT(LargestDifference(grams->value.select(0, i).select(1, j), values[i].t().mm(values[j]) / tokens), 1e-10);
      if (shape.RotaryPairs() > 0) {
        const auto expected = (ComplexPairs(keys[i], shape).conj() * ComplexPairs(keys[j], shape)).mean(0);
        EXPECT_LT(LargestDifference(grams->key_pairs.select(1, i).select(1, j), expected), 1e-10);
      }
      if (shape.FreeWidth() > 0) {
        const auto free = [&](int64_t head) {
          const auto part = keys[head].narrow(1, shape.rotary_width, shape.FreeWidth());
          return part - part.mean(0, true);
        };
        EXPECT_LT(LargestDifference(grams->key_free.select(0, i).select(1, j), free(i).t().mm(free(j)) / tokens),
                  1e-10);
      }
    }
    if (shape.RotaryPairs() > 0) {
      auto energy = at::zeros({shape.RotaryPairs()}, at::kDouble);
      for (int64_t q = 0; q < shape.QueriesPerHead(); ++q) {
        energy += ComplexPairs(queries[i * shape.QueriesPerHead() + q], shape).abs().square().mean(0);
      }
      EXPECT_LT(LargestDifference(grams->query_pair_energy[i], energy), 1e-10);
    }
  }
}

TEST_P(EveryAttention, UnitGramsAreThoseOfUnitLengthHeads) {
  const CalibratedLayer layer(GetParam(), 4);
  const auto grams = BuildGrams(layer.statistics, layer.weights);
  ASSERT_TRUE(grams.ok()) << grams.status();
  const auto& shape = layer.shape;
  const double tokens = static_cast<double>(layer.input.size(0));
  const auto keys = ProjectHeads(layer.input, layer.weights.key, layer.weights.key_bias, shape.kv_heads);
  const auto values = ProjectHeads(layer.input, layer.weights.value, layer.weights.value_bias, shape.kv_heads);
  for (int64_t i = 0; i < shape.kv_heads; ++i) {
    for (int64_t j = 0; j < shape.kv_heads; ++j) {
      const auto value = UnitRows(values[i]).t().mm(UnitRows(values[j])) / tokens;
      EXPECT_LT(LargestDifference(grams->unit_value.select(0, i).select(1, j), value), 1e-10);
      if (shape.RotaryPairs() == 0) continue;
      const auto key = (ComplexPairs(UnitRows(keys[i]), shape).conj() * ComplexPairs(UnitRows(keys[j]), shape)).mean(0);
      EXPECT_LT(LargestDifference(grams->unit_key_pairs.select(1, i).select(1, j), key), 1e-10);
    }
  }
}

TEST_P(EveryAttention, PartsAddUpToTheWhole) {
  CalibratedLayer layer(GetParam(), 5, 130);
  LayerStatistics first(layer.shape, true);
  LayerStatistics second(layer.shape, true);
  const int64_t cut = 47;
  const auto accumulate = [&](LayerStatistics& part, int64_t from, int64_t to) {
    auto batch = ProjectKeysAndValues(layer.input.slice(0, from, to), layer.weights);
    if (layer.shape.cross_attention) batch.query_input = layer.query_input.slice(0, from / 2, to / 2);
    part.Accumulate(batch);
  };
  accumulate(first, 0, cut);
  accumulate(second, cut, 130);
  first.Merge(second);
  const auto parts = first.Sums();
  const auto whole = layer.statistics.Sums();
  ASSERT_EQ(parts.size(), whole.size());
  for (size_t i = 0; i < parts.size(); ++i) EXPECT_LT(LargestDifference(parts[i], whole[i]), 1e-9) << i;
}

TEST_P(EveryAttention, FilesBringTheStatisticsBack) {
  const CalibratedLayer layer(GetParam(), 6);
  const auto back = LayerStatistics::FromTensors(layer.shape, ToMap(layer.statistics.ToTensors()));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(back->HasUnitGrams());
  const auto before = layer.statistics.ToTensors();
  const auto after = back->ToTensors();
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(before[i].second.equal(after[i].second)) << before[i].first;
    if (after[i].second.dim() == 2) {
      EXPECT_TRUE(after[i].second.equal(after[i].second.t())) << after[i].first;
    }
  }
}

TEST(LayerStatistics, PaddingLeavesNoTrace) {
  const auto attention = CaseNamed("partial_rotary");
  const auto weights = RandomWeights(attention, 1);
  const auto tokens = RandomTokens(60, attention.shape.hidden, 2);
  auto padded = tokens.view({3, 20, -1}).clone();
  padded.slice(1, 15, 20).fill_(1e6);
  auto mask = at::ones({3, 20}, at::kBool);
  mask.slice(1, 15, 20).fill_(false);

  LayerStatistics with_padding(attention.shape, true);
  auto batch = ProjectKeysAndValues(padded, weights);
  batch.mask = mask;
  with_padding.Accumulate(batch);
  LayerStatistics without(attention.shape, true);
  without.Accumulate(ProjectKeysAndValues(tokens.view({3, 20, -1}).slice(1, 0, 15), weights));

  EXPECT_EQ(with_padding.Tokens(), 45);
  const auto a = with_padding.Sums();
  const auto b = without.Sums();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_LT(LargestDifference(a[i], b[i]), 1e-9);
}

TEST(LayerStatistics, LowPrecisionActivationsAreSummedInHigherPrecision) {
  const auto attention = CaseNamed("rotary");
  const auto weights = RandomWeights(attention, 1);
  const auto rounded = RandomTokens(5000, attention.shape.hidden, 2).to(at::kBFloat16);
  LayerStatistics statistics(attention.shape, false);
  statistics.Accumulate({.input = rounded});
  const auto exact = rounded.to(at::kDouble).t().mm(rounded.to(at::kDouble));
  EXPECT_LT(LargestDifference(statistics.InputMoment(), exact) / exact.abs().max().item<double>(), 2e-6);
}

TEST(LayerStatistics, WideInputsAreSummedInSymmetricBlocks) {
  AttentionShape shape{
      .hidden = 1030, .query_heads = 2, .kv_heads = 2, .head_width = 4, .value_width = 4, .rotary_width = 4};
  const auto tokens = RandomTokens(12, shape.hidden, 2);
  LayerStatistics statistics(shape, false);
  statistics.Accumulate({.input = tokens});
  EXPECT_LT(LargestDifference(statistics.InputMoment(), tokens.t().mm(tokens)), 1e-10);
}

TEST(LayerStatistics, GramsOfWideInputsKeepSixDigitsBesideALargeBias) {
  AttentionCase wide{
      "wide", {.hidden = 2048, .query_heads = 2, .kv_heads = 2, .head_width = 8, .value_width = 8}, true};
  auto weights = RandomWeights(wide, 1);
  weights.key_bias = weights.key_bias + 1000;
  const auto tokens = RandomTokens(100, wide.shape.hidden, 2);
  LayerStatistics statistics(wide.shape, false);
  statistics.Accumulate({.input = tokens});
  const auto grams = BuildGrams(statistics, weights);
  ASSERT_TRUE(grams.ok()) << grams.status();
  const auto relative = [](const at::Tensor& gram, const at::Tensor& heads) {
    const auto exact = (heads.t().mm(heads) / static_cast<double>(heads.size(0))).view_as(gram);
    return LargestDifference(gram, exact) / exact.abs().max().item<double>();
  };
  const auto keys = at::linear(tokens, weights.key, weights.key_bias);
  EXPECT_LT(relative(grams->key_free, keys - keys.mean(0, true)), 1e-6);
  EXPECT_LT(relative(grams->value, at::linear(tokens, weights.value, weights.value_bias)), 1e-6);
}

TEST(LayerStatistics, ZeroHeadsCountAsZero) {
  const auto attention = CaseNamed("rotary");
  auto weights = RandomWeights(attention, 1);
  weights.value.slice(0, 0, attention.shape.value_width).zero_();
  LayerStatistics statistics(attention.shape, true);
  statistics.Accumulate(ProjectKeysAndValues(RandomTokens(30, attention.shape.hidden, 2), weights));
  EXPECT_TRUE(at::isfinite(statistics.UnitValueGram()).all().item<bool>());
  EXPECT_EQ(statistics.UnitValueGram()[0].abs().max().item<double>(), 0);
}

TEST(LayerStatistics, MissingTensorIsNamed) {
  const CalibratedLayer layer(CaseNamed("rotary"), 6);
  auto tensors = ToMap(layer.statistics.ToTensors());
  tensors.erase("input_sum");
  const auto back = LayerStatistics::FromTensors(layer.shape, tensors);
  EXPECT_EQ(back.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(back.status().message()), testing::HasSubstr("input_sum"));
}

TEST(LayerStatistics, NoTokensIsAnError) {
  const auto attention = CaseNamed("rotary");
  const LayerStatistics empty(attention.shape, true);
  EXPECT_EQ(BuildGrams(empty, RandomWeights(attention, 1)).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(LayerStatistics, CrossAttentionThatReadsNoTokenIsAnError) {
  const auto attention = CaseNamed("cross");
  const AttentionWeights weights = RandomWeights(attention, 1);
  LayerStatistics statistics(attention.shape, true);
  AttentionActivations batch = ProjectKeysAndValues(at::randn({6, attention.shape.hidden}, at::kDouble), weights);
  batch.mask = at::zeros({6}, at::kBool);
  batch.query_input = at::randn({4, attention.shape.query_hidden}, at::kDouble);
  statistics.Accumulate(batch);
  EXPECT_EQ(statistics.Tokens(), 0);
  EXPECT_EQ(statistics.QueryTokens(), 4);
  const auto aligned = AlignLayer(statistics, weights, {.compare = "joint", .similarity = "cosine", .groups = 2});
  EXPECT_EQ(aligned.status().code(), absl::StatusCode::kFailedPrecondition) << aligned.status();
}

TEST(LayerStatistics, ValuesThatAreNotFiniteAreAnError) {
  const CalibratedLayer layer(CaseNamed("rotary"), 6);
  auto weights = layer.weights;
  weights.value = weights.value.clone();
  weights.value[0][0] = NAN;
  EXPECT_EQ(BuildGrams(layer.statistics, weights).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace regroup
