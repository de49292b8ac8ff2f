#include "trainer/alignment/split_heads.h"

#include <ATen/ATen.h>

#include <numeric>

namespace regroup {

int64_t HeadsForTarget(const AttentionShape& shape, int64_t target) {
  const bool possible = target >= 1 && target <= shape.kv_heads && shape.query_heads % target == 0;
  return possible ? std::lcm(shape.kv_heads, target) : shape.kv_heads;
}

AttentionShape WithKvHeads(AttentionShape shape, int64_t kv_heads) {
  shape.kv_heads = kv_heads;
  return shape;
}

at::Tensor RepeatHeads(const at::Tensor& rows, int64_t heads, int64_t copies) {
  if (!rows.defined() || copies == 1) return rows;
  return rows.unflatten(0, {heads, -1}).repeat_interleave(copies, 0).flatten(0, 1);
}

AttentionWeights SplitHeads(AttentionWeights weights, const AttentionShape& shape, int64_t kv_heads) {
  const int64_t copies = kv_heads / shape.kv_heads;
  for (at::Tensor* rows : {&weights.key, &weights.key_bias, &weights.value, &weights.value_bias}) {
    *rows = RepeatHeads(*rows, shape.kv_heads, copies);
  }
  if (shape.key_norm == KeyNorm::kAllHeads) weights.key_norm = RepeatHeads(weights.key_norm, shape.kv_heads, copies);
  return weights;
}

}  // namespace regroup
