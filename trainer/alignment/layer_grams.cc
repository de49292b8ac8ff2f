#include "trainer/alignment/layer_grams.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <initializer_list>
#include <string_view>
#include <utility>

#include "services/base/status_macros.h"
#include "trainer/alignment/pair_gram.h"

namespace regroup {
namespace {

// Moments of the input of a projection with a 1 appended, [n + 1, n + 1]: one product then serves weight and bias.
at::Tensor ExtendedMoment(const at::Tensor& moment, const at::Tensor& sum, double tokens) {
  const auto column = sum.unsqueeze(1);
  const auto top = at::cat({moment, column}, 1);
  const auto bottom = at::cat({column.t(), at::full({1, 1}, tokens, at::kDouble)}, 1);
  return at::cat({top, bottom}) / tokens;
}

at::Tensor ExtendedWeight(const at::Tensor& weight, const at::Tensor& bias) {
  const auto column = bias.defined() ? bias.unsqueeze(1) : at::zeros({weight.size(0), 1}, weight.options());
  return at::cat({weight.to(at::kCPU, at::kDouble), column.to(at::kCPU, at::kDouble)}, 1);
}

// W [heads * width, n] -> [heads, width, n]
at::Tensor Heads(const at::Tensor& rows, int64_t heads) { return rows.view({heads, -1, rows.size(1)}); }

// Sums figures of query heads over those of one KV head.
at::Tensor SumQueryHeads(const at::Tensor& figures, const AttentionShape& shape) {
  auto sizes = figures.sizes().vec();
  sizes[0] = shape.QueriesPerHead();
  sizes.insert(sizes.begin(), shape.kv_heads);
  return figures.reshape(sizes).sum(1);
}

at::Tensor Blocks(const at::Tensor& gram, int64_t heads) {
  const int64_t width = gram.size(0) / heads;
  return gram.reshape({heads, width, heads, width});
}

void AddValueGram(LayerGrams& grams, const at::Tensor& moment, const AttentionWeights& weights) {
  const auto rows = ExtendedWeight(weights.value, weights.value_bias);
  grams.value = Blocks(rows.mm(moment).mm(rows.t()), grams.shape.kv_heads);
}

at::Tensor PairGram(const at::Tensor& heads, const at::Tensor& heads_by_moment, const AttentionShape& shape) {
  const auto product = StackPairs(heads_by_moment, shape).bmm(StackPairs(heads, shape).transpose(1, 2));
  return at::view_as_complex(ComplexGramParts(product).contiguous());
}

// E (k - E k)^T (k - E k) of the coordinates without rotation.
at::Tensor FreeCovariance(const at::Tensor& heads, const at::Tensor& heads_by_moment, const AttentionShape& shape) {
  const auto free = [&](const at::Tensor& all) {
    return all.narrow(1, shape.rotary_width, shape.FreeWidth()).flatten(0, 1);
  };
  const auto by_moment = free(heads_by_moment);
  // The last column of W E[x^T x] with the appended 1 is the mean key.
  const auto mean = by_moment.select(1, by_moment.size(1) - 1);
  return Blocks(by_moment.mm(free(heads).t()) - mean.outer(mean), shape.kv_heads);
}

void AddKeyGrams(LayerGrams& grams, const at::Tensor& moment, const AttentionWeights& weights) {
  const auto rows = ExtendedWeight(weights.key, weights.key_bias);
  const auto heads = Heads(rows, grams.shape.kv_heads);
  const auto heads_by_moment = Heads(rows.mm(moment), grams.shape.kv_heads);
  grams.key_pairs = PairGram(heads, heads_by_moment, grams.shape);
  grams.key_free = FreeCovariance(heads, heads_by_moment, grams.shape);
}

void AddQueryFigures(LayerGrams& grams, const at::Tensor& moment, const AttentionWeights& weights) {
  const auto& shape = grams.shape;
  const auto rows = ExtendedWeight(weights.query, weights.query_bias);
  const auto heads = Heads(rows, shape.query_heads);
  const auto by_moment = Heads(rows.mm(moment), shape.query_heads);
  const auto energy = (heads * by_moment).sum(2).clamp_min(0);
  const auto pairs = energy.index_select(1, FirstOfPairs(shape)) + energy.index_select(1, SecondOfPairs(shape));
  grams.query_pair_energy = SumQueryHeads(pairs, shape);
  const auto free = [&](const at::Tensor& all) { return all.narrow(1, shape.rotary_width, shape.FreeWidth()); };
  grams.query_free = SumQueryHeads(free(by_moment).bmm(free(heads).transpose(1, 2)), shape);
}

void AddOutputMetric(LayerGrams& grams, const AttentionWeights& weights) {
  const auto& shape = grams.shape;
  const auto output = weights.output.to(at::kCPU, at::kDouble).t().reshape({shape.query_heads, shape.value_width, -1});
  grams.output_metric = SumQueryHeads(output.bmm(output.transpose(1, 2)), shape);
}

void AddUnitGrams(LayerGrams& grams, const LayerStatistics& statistics) {
  const double tokens = statistics.Tokens();
  const int64_t heads = grams.shape.kv_heads;
  grams.unit_value = Blocks(statistics.UnitValueGram().cpu() / tokens, heads);
  grams.unit_key_pairs = at::view_as_complex((statistics.UnitKeyPairs().cpu() / tokens).contiguous());
  const auto mean = statistics.UnitKeyFreeSum().cpu() / tokens;
  const auto centred = statistics.UnitKeyFreeGram().cpu() / tokens - mean.outer(mean);
  grams.unit_key_free = Blocks(centred, heads);
}

absl::Status CheckFinite(const LayerGrams& grams) {
  const std::initializer_list<std::pair<std::string_view, const at::Tensor*>> all = {
      {"values", &grams.value},       {"keys", &grams.key_pairs},
      {"keys", &grams.key_free},      {"queries", &grams.query_pair_energy},
      {"queries", &grams.query_free}, {"output projection", &grams.output_metric},
      {"values", &grams.unit_value},  {"keys", &grams.unit_key_pairs},
      {"keys", &grams.unit_key_free},
  };
  for (const auto& [name, tensor] : all) {
    if (tensor->defined() && !at::isfinite(*tensor).all().item<bool>()) {
      return absl::FailedPreconditionError(
          fmt::format("the {} of this layer are not finite on the calibration text; check the source's weights", name));
    }
  }
  return absl::OkStatus();
}

at::Tensor SelectBoth(const at::Tensor& gram, const at::Tensor& heads, int64_t first, int64_t second) {
  return gram.defined() ? gram.index_select(first, heads).index_select(second, heads) : gram;
}

}  // namespace

LayerGrams LayerGrams::Select(const std::vector<int64_t>& heads) const {
  const auto chosen = at::tensor(heads, at::kLong);
  const int64_t count = heads.size();
  LayerGrams group;
  group.shape = shape;
  group.shape.kv_heads = count;
  group.shape.query_heads = count * shape.QueriesPerHead();
  group.value = SelectBoth(value, chosen, 0, 2);
  group.key_pairs = SelectBoth(key_pairs, chosen, 1, 2);
  group.key_free = SelectBoth(key_free, chosen, 0, 2);
  group.unit_value = SelectBoth(unit_value, chosen, 0, 2);
  group.unit_key_pairs = SelectBoth(unit_key_pairs, chosen, 1, 2);
  group.unit_key_free = SelectBoth(unit_key_free, chosen, 0, 2);
  group.query_pair_energy = query_pair_energy.index_select(0, chosen);
  group.query_free = query_free.index_select(0, chosen);
  group.output_metric = output_metric.index_select(0, chosen);
  return group;
}

absl::StatusOr<LayerGrams> BuildGrams(const LayerStatistics& statistics, const AttentionWeights& weights) {
  const at::NoGradGuard no_grad;
  LayerGrams grams;
  grams.shape = statistics.Shape();
  REGROUP_RETURN_IF_ERROR(CheckWeights(weights, grams.shape));
  if (statistics.Tokens() <= 0 || statistics.QueryTokens() <= 0) {
    return absl::FailedPreconditionError(
        "no calibration token reached this attention layer; give longer calibration text");
  }
  const auto moment = ExtendedMoment(statistics.InputMoment().cpu(), statistics.InputSum().cpu(), statistics.Tokens());
  AddValueGram(grams, moment, weights);
  AddKeyGrams(grams, moment, weights);
  if (grams.shape.cross_attention) {
    const auto query_moment =
        ExtendedMoment(statistics.QueryMoment().cpu(), statistics.QuerySum().cpu(), statistics.QueryTokens());
    AddQueryFigures(grams, query_moment, weights);
  } else {
    AddQueryFigures(grams, moment, weights);
  }
  AddOutputMetric(grams, weights);
  if (statistics.HasUnitGrams()) AddUnitGrams(grams, statistics);
  REGROUP_RETURN_IF_ERROR(CheckFinite(grams));
  return grams;
}

}  // namespace regroup
