#include "trainer/alignment/free_gauge.h"

#include <ATen/ATen.h>

#include <vector>

#include "trainer/alignment/pair_gram.h"

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
  const auto shared = merge.transpose(1, 2).bmm(rows).sum(0);
  const auto actual = shared.square().sum(1).sqrt();
  const auto natural = rows.square().sum(2).mean().sqrt();
  return Scales(natural.expand_as(actual), actual);
}

// Stacked rows [pairs, 2s, n] under complex maps [s, pairs]: the scale of each pair, [pairs].
at::Tensor PairScales(const at::Tensor& stacked, const at::Tensor& merge) {
  const int64_t count = merge.size(0);
  const auto complex = at::complex(stacked.narrow(1, 0, count), stacked.narrow(1, count, count));
  const auto shared = merge.t().unsqueeze(1).matmul(complex).squeeze(1);  // [pairs, n]
  const auto actual = shared.abs().square().sum(1).sqrt();
  const auto natural = complex.abs().square().sum(2).mean(1).sqrt();
  return Scales(natural, actual);
}

// maps[heads] *= scale, in place, where `scale` broadcasts over one head's map.
void ScaleMaps(at::Tensor& maps, const at::Tensor& heads, const at::Tensor& scale) {
  maps.index_copy_(0, heads, maps.index_select(0, heads) * scale);
}

at::Tensor HeadRows(const at::Tensor& weight, const at::Tensor& heads, int64_t width) {
  return weight.to(at::kCPU, at::kDouble).view({-1, width, weight.size(1)}).index_select(0, heads);
}

void NormaliseGroup(LayerAlignment& alignment, const at::Tensor& heads, const at::Tensor& values,
                    const at::Tensor& keys, const AttentionShape& shape) {
  const auto value_scale = RowScales(values, alignment.value_merge.index_select(0, heads));
  ScaleMaps(alignment.value_merge, heads, value_scale);
  ScaleMaps(alignment.value_align, heads, value_scale);
  ScaleMaps(alignment.value_output, heads, value_scale.reciprocal().unsqueeze(1));
  if (shape.RotaryPairs() > 0) {
    const auto merge = at::view_as_complex(alignment.key_pairs_merge.index_select(0, heads));
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
  for (const auto& group : alignment.Groups()) {
    const auto heads = at::tensor(group, at::kLong);
    NormaliseGroup(alignment, heads, HeadRows(weights.value, heads, shape.value_width),
                   HeadRows(weights.key, heads, shape.head_width), shape);
  }
}

}  // namespace regroup
