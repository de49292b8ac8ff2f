#include "trainer/alignment/free_gauge.h"

#include <ATen/ATen.h>

#include <vector>

#include "trainer/alignment/pair_gram.h"
#include "trainer/alignment/parallel_tasks.h"

namespace regroup {
namespace {

constexpr double kLargestScale = 1e6;

// natural / actual, or 1 where there is nothing to compare with.
at::Tensor Scales(const at::Tensor& natural, const at::Tensor& actual) {
  const auto scale = natural / at::maximum(actual, natural / kLargestScale);
  return at::where(natural > 0, scale, at::ones_like(scale));
}

// Rows [s, w, n] of one group under maps [s, w, w]: the scale of each shared row, [w].
at::Tensor RowScales(const at::Tensor& rows, const at::Tensor& merge) {
  const auto shared = merge.flatten(0, 1).t().mm(rows.flatten(0, 1));
  const auto actual = shared.norm(2, 1);
  const auto natural = rows.square().sum(2).mean().sqrt();
  return Scales(natural.expand_as(actual), actual);
}

// Stacked rows [pairs, 2s, n] under complex maps [s, pairs, 2]: the scale of each pair, [pairs].
at::Tensor PairScales(const at::Tensor& stacked, const at::Tensor& merge) {
  const auto real = merge.select(2, 0).t();  // [pairs, s]
  const auto imaginary = merge.select(2, 1).t();
  const auto to_first = at::cat({real, -imaginary}, 1);
  const auto to_second = at::cat({imaginary, real}, 1);
  const auto shared = at::stack({to_first, to_second}, 1).bmm(stacked);  // [pairs, 2, n]
  const auto natural = stacked.square().sum({1, 2}) / static_cast<double>(merge.size(0));
  return Scales(natural.sqrt(), shared.square().sum({1, 2}).sqrt());
}

// maps[heads] *= scale, in place, where `scale` broadcasts over one head's map.
void ScaleMaps(at::Tensor& maps, const at::Tensor& heads, const at::Tensor& scale) {
  maps.index_copy_(0, heads, maps.index_select(0, heads) * scale);
}

at::Tensor HeadRows(const at::Tensor& weight, const at::Tensor& heads, int64_t width) {
  return weight.to(at::kCPU).view({-1, width, weight.size(1)}).index_select(0, heads).to(at::kDouble);
}

void NormaliseGroup(LayerAlignment& alignment, const at::Tensor& heads, const at::Tensor& values,
                    const at::Tensor& keys, const AttentionShape& shape) {
  const auto value_scale = RowScales(values, alignment.value_merge.index_select(0, heads));
  ScaleMaps(alignment.value_merge, heads, value_scale);
  ScaleMaps(alignment.value_align, heads, value_scale);
  ScaleMaps(alignment.value_output, heads, value_scale.reciprocal().unsqueeze(1));
  if (shape.RotaryPairs() > 0) {
    const auto merge = alignment.key_pairs_merge.index_select(0, heads);
    const auto scale = PairScales(StackPairs(keys, shape), merge).unsqueeze(1);
    ScaleMaps(alignment.key_pairs_merge, heads, scale);
    ScaleMaps(alignment.key_pairs_align, heads, scale);
    ScaleMaps(alignment.query_pairs, heads, scale.reciprocal());
  }
  if (shape.FreeWidth() > 0) {
    const auto free_rows = keys.narrow(1, shape.rotary_width, shape.FreeWidth());
    const auto scale = RowScales(free_rows, alignment.key_free_merge.index_select(0, heads));
    ScaleMaps(alignment.key_free_merge, heads, scale);
    ScaleMaps(alignment.key_free_align, heads, scale);
    ScaleMaps(alignment.query_free, heads, scale.reciprocal());
  }
}

}  // namespace

void NormaliseFreeGauge(LayerAlignment& alignment, const AttentionWeights& weights, const AttentionShape& shape) {
  const auto groups = alignment.Groups();
  ParallelTasks(static_cast<int64_t>(groups.size()), shape.head_width, [&](int64_t g) {
    const auto heads = at::tensor(groups[g], at::kLong);
    NormaliseGroup(alignment, heads, HeadRows(weights.value, heads, shape.value_width),
                   HeadRows(weights.key, heads, shape.head_width), shape);
  });
}

}  // namespace regroup
