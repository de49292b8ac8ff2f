// Averages: heads stay as they are, and a shared head is their mean.
#include <ATen/ATen.h>

#include "trainer/alignment/registry.h"

namespace regroup {
namespace {

GroupMaps Average(const LayerGrams& group, const MethodOptions&) {
  const auto& shape = group.shape;
  const auto identity = [&](int64_t width) { return at::eye(width, at::kDouble).repeat({shape.kv_heads, 1, 1}); };
  const double share = 1.0 / static_cast<double>(shape.kv_heads);
  GroupMaps maps;
  maps.value_align = maps.value_output = identity(shape.value_width);
  maps.value_merge = maps.value_align * share;
  maps.key_pairs_align = maps.query_pairs = at::ones({shape.kv_heads, shape.RotaryPairs()}, at::kComplexDouble);
  maps.key_pairs_merge = maps.key_pairs_align * share;
  maps.key_free_align = maps.query_free = identity(shape.FreeWidth());
  maps.key_free_merge = maps.key_free_align * share;
  return maps;
}

}  // namespace

extern const AlignmentMethod kNoneMethod{
    .name = "none",
    .summary = "plain average of the heads of a group, not aligned",
    .restore_norm = false,
    .free_gauge = false,
    .follows_similarity = false,
    .behind_norm = NormMaps::kNone,
    .solve = Average,
};

}  // namespace regroup
