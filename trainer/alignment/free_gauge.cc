#include "trainer/alignment/free_gauge.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "trainer/alignment/parallel_tasks.h"

namespace regroup {
namespace {

constexpr double kLargestScale = 1e6;

// Returns natural / actual, or 1 if there is nothing to compare with.
at::Tensor Scales(const at::Tensor& natural, const at::Tensor& actual) {
  const auto scale = natural / at::maximum(actual, natural / kLargestScale);
  return at::where(natural > 0, scale, at::ones_like(scale));
}

// Returns a projection [heads x width, n] in float32 at least. That is enough: maps are multiplied by a scale and by
// its inverse, whatever the scale is.
at::Tensor Rows(const at::Tensor& weight) {
  return weight.to(at::kCPU, at::promoteTypes(weight.scalar_type(), at::kFloat));
}

// Returns the scale of each shared row, [w], from the `rows` [w, n] of each head of a group, which maps [s, w, w] add
// up.
at::Tensor RowScales(const std::vector<at::Tensor>& rows, const at::Tensor& merge) {
  auto shared = at::zeros_like(rows[0]);
  double energy = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    shared.addmm_(merge[static_cast<int64_t>(i)].t().to(shared.scalar_type()), rows[i]);
    energy += std::pow(rows[i].norm().item<double>(), 2);
  }
  const auto actual = shared.norm(2, 1).to(at::kDouble);
  const double natural = std::sqrt(energy / static_cast<double>(merge.size(0) * merge.size(1)));
  return Scales(at::full_like(actual, natural), actual);
}

// Returns the scale of each pair, [pairs], from rows of rotary pairs [pairs, 2s, n], the first of each pair and then
// the second, under complex maps [s, pairs, 2].
at::Tensor PairScales(const at::Tensor& stacked, const at::Tensor& merge) {
  const auto real = merge.select(2, 0).t();  // [pairs, s]
  const auto imaginary = merge.select(2, 1).t();
  const auto to_first = at::cat({real, -imaginary}, 1);
  const auto to_second = at::cat({imaginary, real}, 1);
  const auto shared = at::stack({to_first, to_second}, 1).to(stacked.scalar_type()).bmm(stacked);  // [pairs, 2, n]
  const auto norms = [](const at::Tensor& rows) { return rows.norm(2, {1, 2}).to(at::kDouble); };
  return Scales(norms(stacked) / std::sqrt(static_cast<double>(merge.size(0))), norms(shared));
}

// Multiplies maps[heads] by `scale` in place; `scale` broadcasts over one head's map.
void ScaleMaps(at::Tensor& maps, const at::Tensor& heads, const at::Tensor& scale) {
  maps.index_copy_(0, heads, maps.index_select(0, heads) * scale);
}

void NormaliseGroup(LayerAlignment& alignment, const std::vector<int64_t>& group, const at::Tensor& values,
                    const at::Tensor& keys, const AttentionShape& shape) {
  const auto heads = at::tensor(group, at::kLong);
  const auto rows_of = [&](const at::Tensor& all, int64_t width, int64_t first, int64_t count) {
    std::vector<at::Tensor> rows;
    for (const int64_t head : group) rows.push_back(all.narrow(0, head * width + first, count));
    return rows;
  };
  const auto value_scale =
      RowScales(rows_of(values, shape.value_width, 0, shape.value_width), alignment.value_merge.index_select(0, heads));
  ScaleMaps(alignment.value_merge, heads, value_scale);
  ScaleMaps(alignment.value_align, heads, value_scale);
  ScaleMaps(alignment.value_output, heads, value_scale.reciprocal().unsqueeze(1));
  if (shape.RotaryPairs() > 0) {
    const auto starts = heads * shape.head_width;
    const auto rows =
        at::cat({FirstOfPairs(shape).unsqueeze(1) + starts, SecondOfPairs(shape).unsqueeze(1) + starts}, 1);
    const auto stacked = keys.index_select(0, rows.flatten()).view({rows.size(0), rows.size(1), -1});
    const auto scale = PairScales(stacked, alignment.key_pairs_merge.index_select(0, heads)).unsqueeze(1);
    ScaleMaps(alignment.key_pairs_merge, heads, scale);
    ScaleMaps(alignment.key_pairs_align, heads, scale);
    ScaleMaps(alignment.query_pairs, heads, scale.reciprocal());
  }
  if (shape.FreeWidth() > 0) {
    const auto scale = RowScales(rows_of(keys, shape.head_width, shape.rotary_width, shape.FreeWidth()),
                                 alignment.key_free_merge.index_select(0, heads));
    ScaleMaps(alignment.key_free_merge, heads, scale);
    ScaleMaps(alignment.key_free_align, heads, scale);
    ScaleMaps(alignment.query_free, heads, scale.reciprocal());
  }
}

}  // namespace

void NormaliseFreeGauge(LayerAlignment& alignment, const AttentionWeights& weights, const AttentionShape& shape) {
  const auto groups = alignment.Groups();
  const auto values = Rows(weights.value);
  const auto keys = Rows(weights.key);
  ParallelTasks(static_cast<int64_t>(groups.size()), shape.head_width,
                [&](int64_t g) { NormaliseGroup(alignment, groups[g], values, keys, shape); });
}

}  // namespace regroup
