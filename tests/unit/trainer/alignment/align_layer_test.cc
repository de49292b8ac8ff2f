#include "trainer/alignment/align_layer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "attention_cases.h"
#include "reference_attention.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

// Energy that merging loses, measured on the calibration tokens from the two sets of weights only.
struct MeasuredLoss {
  double value = 0;
  double key = 0;
};

double SumOfSquares(const at::Tensor& tensor) { return tensor.abs().square().sum().item<double>(); }

at::Tensor OutputOf(const at::Tensor& values, const AttentionWeights& weights, int64_t head) {
  const int64_t width = values.size(1);
  return values.mm(weights.output.narrow(1, head * width, width).t());
}

// conj(k_n) q_m of every pair of tokens and every rotary pair: the logits before the sum over pairs, whose angles
// differ.
at::Tensor PairLogits(const at::Tensor& query, const at::Tensor& key, const AttentionShape& shape) {
  return ComplexPairs(query, shape).unsqueeze(1) * ComplexPairs(key, shape).conj().unsqueeze(0);
}

// Logits of the coordinates without rotation, minus the part that cancels in the softmax.
at::Tensor FreeLogits(const at::Tensor& query, const at::Tensor& key, const AttentionShape& shape) {
  const auto free = [&](const at::Tensor& head) { return head.narrow(1, shape.rotary_width, shape.FreeWidth()); };
  const auto logits = free(query).mm(free(key).t());
  return logits - logits.mean(1, true);
}

MeasuredLoss Measure(const CalibratedLayer& layer, const LayerAlignment& alignment) {
  const auto& shape = layer.shape;
  const auto merged = MergeHeads(layer.weights, alignment, shape).value();
  const int64_t groups = alignment.GroupCount();
  const auto queries =
      ProjectHeads(layer.query_input, layer.weights.query, layer.weights.query_bias, shape.query_heads);
  const auto keys = ProjectHeads(layer.input, layer.weights.key, layer.weights.key_bias, shape.kv_heads);
  const auto values = ProjectHeads(layer.input, layer.weights.value, layer.weights.value_bias, shape.kv_heads);
  const auto new_queries = ProjectHeads(layer.query_input, merged.query, merged.query_bias, shape.query_heads);
  const auto new_keys = ProjectHeads(layer.input, merged.key, merged.key_bias, groups);
  const auto new_values = ProjectHeads(layer.input, merged.value, merged.value_bias, groups);
  const auto order = QueryHeadOrder(alignment, shape);
  MeasuredLoss lost;
  MeasuredLoss whole;
  for (int64_t place = 0; place < shape.query_heads; ++place) {
    const int64_t head = order[place];
    const int64_t owner = head / shape.QueriesPerHead();
    const int64_t group = place * groups / shape.query_heads;
    const auto value = OutputOf(values[owner], layer.weights, head);
    lost.value += SumOfSquares(OutputOf(new_values[group], merged, place) - value);
    whole.value += SumOfSquares(value);
    if (shape.RotaryPairs() > 0) {
      const auto logits = PairLogits(queries[head], keys[owner], shape);
      lost.key += 0.5 * SumOfSquares(PairLogits(new_queries[place], new_keys[group], shape) - logits);
      whole.key += 0.5 * SumOfSquares(logits);
    }
    if (shape.FreeWidth() > 0) {
      const auto logits = FreeLogits(queries[head], keys[owner], shape);
      lost.key += SumOfSquares(FreeLogits(new_queries[place], new_keys[group], shape) - logits);
      whole.key += SumOfSquares(logits);
    }
  }
  return {lost.value / whole.value, lost.key / whole.key};
}

LayerAlignment Align(const CalibratedLayer& layer, const AlignmentOptions& options) {
  auto alignment = AlignLayer(layer.statistics, layer.weights, options);
  EXPECT_TRUE(alignment.ok()) << alignment.status();
  return *alignment;
}

class AlignLayerTest : public testing::TestWithParam<AttentionCase> {
 protected:
  CalibratedLayer layer_{GetParam(), 21};
};

TEST_P(AlignLayerTest, PlainAveragesAreTheSameWithoutStatistics) {
  const AlignmentOptions options{
      .method = "none", .compare = "none", .similarity = "distance", .groups = layer_.shape.kv_heads / 2};
  const auto with = AlignLayer(layer_.statistics, layer_.weights, options);
  const auto without = AlignWithoutStatistics(layer_.shape, layer_.weights, options);
  ASSERT_TRUE(with.ok()) << with.status();
  ASSERT_TRUE(without.ok()) << without.status();
  const NamedTensors ours = without->ToTensors();
  const NamedTensors all = with->ToTensors();
  const TensorMap theirs(all.begin(), all.end());
  for (const auto& [name, tensor] : ours) {
    if (name != "figures") EXPECT_TRUE(at::equal(tensor, theirs.at(name))) << name;
  }
  EXPECT_FALSE(without->value_similarity_before.defined());
  EXPECT_TRUE(LayerAlignment::FromTensors(layer_.shape, {ours.begin(), ours.end()}).ok());
}

TEST(AlignWithoutStatistics, RefusesWhatNeedsThem) {
  const CalibratedLayer layer(CaseNamed("rotary"), 5);
  const auto refuses = [&](const AlignmentOptions& options) {
    const auto status = AlignWithoutStatistics(layer.shape, layer.weights, options).status();
    return status.code() == absl::StatusCode::kInvalidArgument &&
           std::string(status.message()).find("calibration.data") != std::string::npos;
  };
  EXPECT_TRUE(refuses({.method = "procrustes", .compare = "none", .groups = 2}));
  EXPECT_TRUE(refuses({.method = "none", .compare = "value", .groups = 2}));
  EXPECT_TRUE(refuses({.method = "none", .compare = "none", .groups = 2, .match_energy = true}));
}

INSTANTIATE_TEST_SUITE_P(Every, AlignLayerTest, testing::ValuesIn(AttentionCases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(AlignLayerTest, ResidualsAreWhatTheTokensLose) {
  for (const auto* method : AlignmentMethods()) {
    for (const bool restore : {false, true}) {
      const auto alignment = Align(layer_, {.method = std::string(method->name), .groups = 2, .restore_norm = restore});
      const auto measured = Measure(layer_, alignment);
      EXPECT_NEAR(alignment.residual_value, measured.value, 1e-9) << method->name;
      EXPECT_NEAR(alignment.residual_key, measured.key, 1e-9) << method->name;
    }
  }
}

TEST_P(AlignLayerTest, PrincipalLosesNoMoreThanAnyOtherMethod) {
  for (const int64_t groups : {1, 2}) {
    for (const std::string similarity : {"cosine", "distance"}) {
      const AlignmentOptions options{.compare = "none", .similarity = similarity, .groups = groups};
      auto best = options;
      best.method = "principal";
      const auto principal = Measure(layer_, Align(layer_, best));
      for (const std::string other : {"none", "procrustes"}) {
        for (const bool restore : {false, true}) {
          auto opponent = options;
          opponent.method = other;
          opponent.restore_norm = restore;
          const auto loss = Measure(layer_, Align(layer_, opponent));
          EXPECT_LT(principal.value, loss.value) << other;
          EXPECT_LT(principal.key, loss.key) << other;
        }
      }
    }
  }
}

// A rank-w map of the concatenated heads loses at least the discarded singular values of the tokens' own matrix.
TEST_P(AlignLayerTest, PrincipalReachesTheLowerBoundOfItsRank) {
  const auto alignment = Align(layer_, {.method = "principal", .compare = "none", .groups = 1});
  const auto& shape = layer_.shape;
  const auto values = ProjectHeads(layer_.input, layer_.weights.value, layer_.weights.value_bias, shape.kv_heads);
  std::vector<at::Tensor> outputs;
  for (int64_t head = 0; head < shape.query_heads; ++head) {
    outputs.push_back(OutputOf(values[head / shape.QueriesPerHead()], layer_.weights, head));
  }
  const auto energies = at::linalg_svdvals(at::cat(outputs, 1)).square();
  const auto bound = energies.slice(0, shape.value_width).sum() / energies.sum();
  EXPECT_NEAR(alignment.residual_value, bound.item<double>(), 1e-9);
}

TEST_P(AlignLayerTest, ProcrustesMakesHeadsMoreAlike) {
  for (const std::string compare : {"none", "key", "value", "joint"}) {
    const auto alignment = Align(layer_, {.compare = compare, .groups = 2});
    EXPECT_GT(alignment.similarity_after, alignment.similarity_before) << compare;
  }
}

// Mean cosines of heads [heads][tokens, width] over tokens.
at::Tensor Cosines(const std::vector<at::Tensor>& heads) {
  const auto rows = at::stack(heads).flatten(1);
  const auto unit = rows / rows.norm(2, 1, true);
  return unit.mm(unit.t());
}

at::Tensor CosinesOfKeys(const std::vector<at::Tensor>& heads, const AttentionShape& shape) {
  std::vector<at::Tensor> parts;
  for (const auto& head : heads) {
    const auto free = head.narrow(1, shape.rotary_width, shape.FreeWidth());
    parts.push_back(at::cat({head.narrow(1, 0, shape.rotary_width), free - free.mean(0, true)}, 1));
  }
  return Cosines(parts);
}

TEST_P(AlignLayerTest, SimilaritiesAreThoseOfTheTokens) {
  const auto& shape = layer_.shape;
  const auto expect_cosines = [&](const AttentionWeights& weights, const std::vector<int64_t>& order,
                                  const at::Tensor& of_keys, const at::Tensor& of_values, const std::string& when) {
    const auto heads = at::tensor(order, at::kLong);
    const auto in_order = [&](const at::Tensor& all) { return all.index_select(0, heads).index_select(1, heads); };
    const auto keys = ProjectHeads(layer_.input, weights.key, weights.key_bias, shape.kv_heads);
    const auto values = ProjectHeads(layer_.input, weights.value, weights.value_bias, shape.kv_heads);
    EXPECT_TRUE(in_order(of_keys).allclose(CosinesOfKeys(keys, shape), 0, 1e-5)) << when;
    EXPECT_TRUE(in_order(of_values).allclose(Cosines(values), 0, 1e-5)) << when;
  };
  for (const auto* method : AlignmentMethods()) {
    const std::string name(method->name);
    const auto alignment = Align(layer_, {.method = name, .groups = 2});
    const auto aligned = ApplyAlignment(layer_.weights, alignment, shape).value();
    expect_cosines(layer_.weights, {0, 1, 2, 3}, alignment.key_similarity_before, alignment.value_similarity_before,
                   name + " before");
    expect_cosines(aligned, KvHeadOrder(alignment), alignment.key_similarity_after, alignment.value_similarity_after,
                   name + " after");
  }
}

TEST_P(AlignLayerTest, SameInputGivesTheSameBits) {
  for (const auto* method : AlignmentMethods()) {
    const AlignmentOptions options{.method = std::string(method->name), .compare = "joint", .groups = 2, .seed = 3};
    const auto first = Align(layer_, options).ToTensors();
    const auto second = Align(layer_, options).ToTensors();
    ASSERT_EQ(first.size(), second.size());
    for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(first[i].second.equal(second[i].second)) << first[i].first;
  }
}

TEST_P(AlignLayerTest, FilesBringTheAlignmentBack) {
  const auto alignment =
      Align(layer_, {.method = "principal", .compare = "key", .similarity = "residual", .groups = 2});
  const auto tensors = alignment.ToTensors();
  const auto back = LayerAlignment::FromTensors(layer_.shape, {tensors.begin(), tensors.end()});
  ASSERT_TRUE(back.ok()) << back.status();
  const auto again = back->ToTensors();
  ASSERT_EQ(tensors.size(), again.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(tensors[i].first, again[i].first);
    EXPECT_TRUE(tensors[i].second.equal(again[i].second)) << tensors[i].first;
  }
  const auto merged = MergeHeads(layer_.weights, alignment, layer_.shape);
  const auto merged_again = MergeHeads(layer_.weights, *back, layer_.shape);
  EXPECT_TRUE(merged->key.equal(merged_again->key));
}

TEST_P(AlignLayerTest, RestoreNormGivesSharedHeadsTheEnergyOfTheirHeads) {
  const auto alignment = Align(layer_, {.compare = "none", .groups = 2, .restore_norm = true});
  const auto merged = MergeHeads(layer_.weights, alignment, layer_.shape).value();
  const auto& shape = layer_.shape;
  const auto heads = ProjectHeads(layer_.input, layer_.weights.value, layer_.weights.value_bias, shape.kv_heads);
  const auto shared = ProjectHeads(layer_.input, merged.value, merged.value_bias, 2);
  for (int64_t g = 0; g < 2; ++g) {
    const double mean = 0.5 * (SumOfSquares(heads[2 * g]) + SumOfSquares(heads[2 * g + 1]));
    EXPECT_NEAR(SumOfSquares(shared[g]) / mean, 1, 1e-9);
  }
}

// Compares queries and keys of all pairs of tokens, before and after: the contributions of each rotary pair, and of the
// other coordinates, to the squared logits of a group's heads.
TEST_P(AlignLayerTest, MatchEnergyGivesSharedKeysTheLogitEnergyOfTheirHeads) {
  const auto& shape = layer_.shape;
  const int64_t heads_of_group = shape.query_heads / 2;
  for (const auto* method : AlignmentMethods()) {
    const AlignmentOptions options{
        .method = std::string(method->name), .compare = "none", .groups = 2, .match_energy = true};
    const auto merged = MergeHeads(layer_.weights, Align(layer_, options), shape).value();
    const auto energies = [&](const AttentionWeights& weights, int64_t kv_heads, int64_t group) {
      const auto queries = ProjectHeads(layer_.query_input, weights.query, weights.query_bias, shape.query_heads);
      const auto keys = ProjectHeads(layer_.input, weights.key, weights.key_bias, kv_heads);
      auto pairs = at::zeros({shape.RotaryPairs()}, at::kDouble);
      double free = 0;
      for (int64_t head = group * heads_of_group; head < (group + 1) * heads_of_group; ++head) {
        const at::Tensor& key = keys[head * kv_heads / shape.query_heads];
        if (shape.RotaryPairs() > 0)
          pairs += PairLogits(queries[head], key, shape).abs().square().sum(at::IntArrayRef{0, 1});
        if (shape.FreeWidth() > 0) free += SumOfSquares(FreeLogits(queries[head], key, shape));
      }
      return at::cat({pairs, at::tensor({free})});
    };
    for (const int64_t group : {0, 1}) {
      const auto wanted = energies(layer_.weights, shape.kv_heads, group);
      EXPECT_TRUE(energies(merged, 2, group).allclose(wanted, 1e-9)) << method->name << " " << wanted;
    }
  }
}

TEST_P(AlignLayerTest, PrincipalGivesSharedRowsTheNormOfTheRowsTheyReplace) {
  const AlignmentOptions options{.method = "principal", .compare = "none", .groups = 2};
  const auto merged = MergeHeads(layer_.weights, Align(layer_, options), layer_.shape).value();
  const auto natural = layer_.weights.value.view({2, -1, layer_.shape.hidden}).square().sum(2).mean(1).sqrt();
  const auto actual = merged.value.view({2, -1, layer_.shape.hidden}).norm(2, 2);
  EXPECT_LT((actual / natural.unsqueeze(1) - 1).abs().max().item<double>(), 1e-9);
}

TEST_P(AlignLayerTest, SimilaritiesAreSymmetricAndLargestForTransformedHeads) {
  auto& weights = layer_.weights;
  const int64_t width = layer_.shape.value_width;
  weights.value = weights.value.clone();
  weights.value.narrow(0, 3 * width, width).copy_(RandomRotation(width, 5).mm(weights.value.narrow(0, 0, width)));
  if (weights.value_bias.defined()) weights.value_bias = at::zeros_like(weights.value_bias);
  layer_.Recalibrate();
  for (const auto* similarity : Similarities()) {
    const auto alignment = Align(layer_, {.similarity = std::string(similarity->name), .groups = 2});
    const auto& matrix = alignment.grouping_similarity;
    EXPECT_TRUE(matrix.equal(matrix.t())) << similarity->name;
    EXPECT_EQ(alignment.Groups().front(), (std::vector<int64_t>{0, 3})) << similarity->name;
  }
}

TEST(AlignLayer, SingularOutputProjectionHasDefinedMaps) {
  const auto attention = CaseNamed("rotary");
  CalibratedLayer layer(attention, 5);
  layer.weights.output = layer.weights.output.clone();
  layer.weights.output.narrow(1, 0, 8).zero_();  // Head 0 is not read at all.
  layer.weights.output.select(1, 9).zero_();     // One coordinate of head 1 is not read.
  for (const auto* method : AlignmentMethods()) {
    const auto alignment = Align(layer, {.method = std::string(method->name), .compare = "none", .groups = 2});
    for (const auto& [name, tensor] : alignment.ToTensors()) {
      EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << method->name << " " << name;
    }
    const auto aligned = ApplyAlignment(layer.weights, alignment, layer.shape).value();
    const auto input = layer.input.slice(0, 0, 20);
    const auto before = ReferenceAttention(layer.weights, layer.shape, input, input);
    const auto after = ReferenceAttention(aligned, layer.shape, input, input);
    EXPECT_LT((after - before).abs().max().item<double>(), 1e-6) << method->name;
  }
}

void ExpectFinite(const AttentionWeights& weights, std::string_view what) {
  for (const auto* weight : {&weights.query, &weights.key, &weights.value, &weights.output}) {
    EXPECT_TRUE(at::isfinite(*weight).all().item<bool>()) << what;
  }
}

// A projection of rank 3 reads 3 directions of all heads together, so a shared head of width 8 can serve them all.
TEST(AlignLayer, RankDeficientOutputProjectionGivesFiniteWeights) {
  CalibratedLayer layer(CaseNamed("rotary"), 5);
  const int64_t inputs = layer.weights.output.size(1);
  layer.weights.output = RandomNormal({layer.shape.hidden, 3}, 1).mm(RandomNormal({3, inputs}, 2));
  for (const auto* method : AlignmentMethods()) {
    for (const int64_t groups : {1, 2}) {
      const auto alignment = Align(layer, {.method = std::string(method->name), .compare = "none", .groups = groups});
      ExpectFinite(MergeHeads(layer.weights, alignment, layer.shape).value(), method->name);
      ExpectFinite(ApplyAlignment(layer.weights, alignment, layer.shape).value(), method->name);
      EXPECT_NEAR(alignment.residual_value, Measure(layer, alignment).value, 1e-6) << method->name;
    }
  }
  const auto principal = Align(layer, {.method = "principal", .compare = "none", .groups = 2});
  EXPECT_LT(principal.residual_value, 1e-5);
}

TEST(AlignLayer, ZeroProjectionsHaveDefinedMaps) {
  for (const std::string name : {"rotary", "no_rotary"}) {
    CalibratedLayer layer(CaseNamed(name), 5);
    for (auto* weight : {&layer.weights.output, &layer.weights.query, &layer.weights.key, &layer.weights.value}) {
      *weight = at::zeros_like(*weight);
    }
    layer.Recalibrate();
    for (const auto* method : AlignmentMethods()) {
      const auto alignment = Align(layer, {.method = std::string(method->name), .compare = "joint", .groups = 2});
      for (const auto& [tensor_name, tensor] : alignment.ToTensors()) {
        EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << method->name << " " << tensor_name;
      }
    }
  }
}

TEST(AlignLayer, ConstantKeyDoesNotCountWhereNothingRotates) {
  CalibratedLayer layer(CaseNamed("no_rotary_biases"), 8);
  const AlignmentOptions options{.method = "principal", .compare = "key", .groups = 2};
  const auto before = Align(layer, options);
  layer.weights.key_bias = layer.weights.key_bias + 30 * RandomNormal({layer.weights.key.size(0)}, 3);
  layer.Recalibrate();
  const auto after = Align(layer, options);
  EXPECT_NEAR(after.residual_key, before.residual_key, 1e-8);
}

TEST(AlignLayer, TablesHoldUniqueNamesThatCanBeFound) {
  for (const auto* method : AlignmentMethods()) EXPECT_EQ(FindAlignmentMethod(method->name), method);
  for (const auto* similarity : Similarities()) EXPECT_EQ(FindSimilarity(similarity->name), similarity);
  EXPECT_EQ(FindAlignmentMethod(""), nullptr);
}

}  // namespace
}  // namespace regroup
