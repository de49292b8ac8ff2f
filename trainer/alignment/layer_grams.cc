#include "trainer/alignment/layer_grams.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/pair_gram.h"

namespace regroup {
namespace {

// Products over inputs at least this wide are computed in float32: they take most of an alignment's time, and the
// moments themselves are sums of float32 products.
constexpr int64_t kSinglePrecisionWidth = 2048;

// Describes the input of a projection by its mean and its second moment around the mean. Means are added back in
// float64, so a large bias costs no digits.
struct InputMoments {
  at::Tensor mean;        // [n]
  at::Tensor covariance;  // [n, n], in the precision of the products
};

InputMoments Moments(const at::Tensor& moment, const at::Tensor& sum, double tokens) {
  const auto mean = sum.cpu() / tokens;
  const auto covariance = moment.cpu() / tokens - mean.outer(mean);
  return {mean, covariance.to(mean.size(0) < kSinglePrecisionWidth ? at::kDouble : at::kFloat)};
}

// A projection, with the covariance of its outputs and inputs.
struct Projection {
  Projection(const at::Tensor& weight, const at::Tensor& bias, int64_t heads, const InputMoments& input) {
    const auto exact = weight.to(at::kCPU, at::kDouble);
    mean = exact.mv(input.mean);
    if (bias.defined()) mean = mean + bias.to(at::kCPU, at::kDouble);
    mean = mean.view({heads, -1});
    const auto matrix = weight.to(at::kCPU, input.covariance.scalar_type());
    rows = matrix.view({heads, -1, matrix.size(1)});
    by_covariance = matrix.mm(input.covariance).view_as(rows);
  }

  at::Tensor mean;           // [heads, width]
  at::Tensor rows;           // [heads, width, n]
  at::Tensor by_covariance;  // rows times the covariance of the input
};

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

void AddValueGram(LayerGrams& grams, const Projection& values) {
  const auto covariance = values.by_covariance.flatten(0, 1).mm(values.rows.flatten(0, 1).t()).to(at::kDouble);
  const auto mean = values.mean.flatten();
  grams.value = Blocks(covariance + mean.outer(mean), grams.shape.kv_heads);
}

at::Tensor PairGram(const Projection& keys, const AttentionShape& shape) {
  const auto rows = StackPairs(keys.rows, shape);
  const auto by_covariance = StackPairs(keys.by_covariance, shape);
  const auto mean = StackPairs(keys.mean.unsqueeze(2), shape);  // [pairs, 2H, 1]
  const auto product = by_covariance.bmm(rows.transpose(1, 2)).to(at::kDouble) + mean * mean.transpose(1, 2);
  return at::view_as_complex(ComplexGramParts(product).contiguous());
}

// Returns E (k - E k)^T (k - E k) of the coordinates without rotation.
at::Tensor FreeCovariance(const Projection& keys, const AttentionShape& shape) {
  const auto free = [&](const at::Tensor& all) {
    return all.narrow(1, shape.rotary_width, shape.FreeWidth()).flatten(0, 1);
  };
  return Blocks(free(keys.by_covariance).mm(free(keys.rows).t()).to(at::kDouble), shape.kv_heads);
}

void AddQueryFigures(LayerGrams& grams, const Projection& queries) {
  const auto& shape = grams.shape;
  const auto spread = (queries.rows * queries.by_covariance).sum(2, false, at::kDouble).clamp_min(0);
  const auto energy = spread + queries.mean.square();
  const auto pairs = energy.index_select(1, FirstOfPairs(shape)) + energy.index_select(1, SecondOfPairs(shape));
  grams.query_pair_energy = SumQueryHeads(pairs, shape);
  const auto free = [&](const at::Tensor& all) { return all.narrow(1, shape.rotary_width, shape.FreeWidth()); };
  const auto covariance = free(queries.by_covariance).bmm(free(queries.rows).transpose(1, 2)).to(at::kDouble);
  const auto mean = free(queries.mean);
  grams.query_free = SumQueryHeads(covariance + mean.unsqueeze(2) * mean.unsqueeze(1), shape);
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

// Returns the blocks [s, w, s, w] of a Gram [H, w, H, w], without a copy of whole rows.
at::Tensor SelectBlocks(const at::Tensor& gram, const std::vector<int64_t>& heads, const at::Tensor& chosen) {
  if (!gram.defined()) return gram;
  std::vector<at::Tensor> rows;
  for (const int64_t head : heads) rows.push_back(gram.select(0, head).index_select(1, chosen));
  return at::stack(rows);
}

at::Tensor SelectPairs(const at::Tensor& gram, const at::Tensor& chosen) {
  return gram.defined() ? gram.index_select(1, chosen).index_select(2, chosen) : gram;
}

}  // namespace

LayerGrams LayerGrams::Select(const std::vector<int64_t>& heads) const {
  const auto chosen = at::tensor(heads, at::kLong);
  const int64_t count = heads.size();
  LayerGrams group;
  group.shape = shape;
  group.shape.kv_heads = count;
  group.shape.query_heads = count * shape.QueriesPerHead();
  group.value = SelectBlocks(value, heads, chosen);
  group.key_pairs = SelectPairs(key_pairs, chosen);
  group.key_free = SelectBlocks(key_free, heads, chosen);
  group.unit_value = SelectBlocks(unit_value, heads, chosen);
  group.unit_key_pairs = SelectPairs(unit_key_pairs, chosen);
  group.unit_key_free = SelectBlocks(unit_key_free, heads, chosen);
  group.query_pair_energy = query_pair_energy.index_select(0, chosen);
  group.query_free = query_free.index_select(0, chosen);
  group.output_metric = output_metric.index_select(0, chosen);
  group.turns.signs = turns.signs;
  if (turns.phases.defined()) group.turns.phases = turns.phases.index_select(1, chosen);
  return group;
}

absl::StatusOr<LayerGrams> BuildGrams(const LayerStatistics& statistics, const AttentionWeights& weights) {
  const at::NoGradGuard no_grad;
  LayerGrams grams;
  grams.shape = statistics.Shape();
  REGROUP_RETURN_IF_ERROR(CheckWeights(weights, grams.shape));
  if (statistics.Tokens() <= 0 || statistics.QueryTokens() <= 0) {
    return absl::FailedPreconditionError(
        "no calibration token reached this attention layer; use a longer calibration text");
  }
  const auto& shape = grams.shape;
  const auto input = Moments(statistics.InputMoment(), statistics.InputSum(), statistics.Tokens());
  AddValueGram(grams, Projection(weights.value, weights.value_bias, shape.kv_heads, input));
  const Projection keys(weights.key, weights.key_bias, shape.kv_heads, input);
  grams.key_pairs = PairGram(keys, shape);
  grams.key_free = FreeCovariance(keys, shape);
  const auto query_input = shape.cross_attention
                               ? Moments(statistics.QueryMoment(), statistics.QuerySum(), statistics.QueryTokens())
                               : input;
  AddQueryFigures(grams, Projection(weights.query, weights.query_bias, shape.query_heads, query_input));
  AddOutputMetric(grams, weights);
  if (statistics.HasUnitGrams()) AddUnitGrams(grams, statistics);
  REGROUP_RETURN_IF_ERROR(CheckFinite(grams));
  return grams;
}

}  // namespace regroup
