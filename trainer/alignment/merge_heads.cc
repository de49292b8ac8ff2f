#include "trainer/alignment/merge_heads.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/key_norm.h"
#include "trainer/alignment/split_heads.h"

namespace regroup {
namespace {

// The rows of a projection, with its bias as one more column, since a bias transforms like a column of weights.
struct Rows {
  at::Tensor all;  // float64 [heads, width, n] or [heads, width, n + 1]
  bool has_bias = false;
  at::TensorOptions weight_options;
  at::TensorOptions bias_options;
};

Rows TakeRows(const at::Tensor& weight, const at::Tensor& bias, int64_t heads) {
  Rows rows;
  rows.weight_options = weight.options();
  rows.has_bias = bias.defined();
  auto matrix = weight.to(at::kCPU, at::kDouble);
  if (rows.has_bias) {
    rows.bias_options = bias.options();
    matrix = at::cat({matrix, bias.to(at::kCPU, at::kDouble).unsqueeze(1)}, 1);
  }
  rows.all = matrix.reshape({heads, -1, matrix.size(1)});
  return rows;
}

void PutRows(const Rows& rows, const at::Tensor& heads, at::Tensor& weight, at::Tensor& bias) {
  const auto matrix = heads.flatten(0, 1);
  const int64_t inputs = matrix.size(1) - (rows.has_bias ? 1 : 0);
  weight = matrix.narrow(1, 0, inputs).to(rows.weight_options).contiguous();
  if (rows.has_bias) bias = matrix.select(1, inputs).to(rows.bias_options).contiguous();
}

at::Tensor Index(const std::vector<int64_t>& order) { return at::tensor(order, at::kLong); }

// Holds maps on the coordinates of keys or queries, one for each head of the rows that they are applied to.
struct CoordinateMaps {
  at::Tensor pairs;  // [heads, pairs, 2]
  at::Tensor free;   // [heads, free, free]

  CoordinateMaps Select(const at::Tensor& order) const {
    return {pairs.index_select(0, order), free.index_select(0, order)};
  }
};

// Applies maps on row vectors x to rows W [heads, width, n] with x = input W^T.
at::Tensor MapCoordinates(const at::Tensor& rows, const CoordinateMaps& maps, const AttentionShape& shape) {
  auto mapped = at::empty_like(rows);
  if (shape.RotaryPairs() > 0) {
    const auto first_index = FirstOfPairs(shape);
    const auto second_index = SecondOfPairs(shape);
    const auto first = rows.index_select(1, first_index);
    const auto second = rows.index_select(1, second_index);
    const auto real = maps.pairs.select(2, 0).unsqueeze(2);
    const auto imaginary = maps.pairs.select(2, 1).unsqueeze(2);
    mapped.index_copy_(1, first_index, real * first - imaginary * second);
    mapped.index_copy_(1, second_index, real * second + imaginary * first);
  }
  if (shape.FreeWidth() > 0) {
    const auto free = rows.narrow(1, shape.rotary_width, shape.FreeWidth());
    mapped.narrow(1, shape.rotary_width, shape.FreeWidth()).copy_(maps.free.transpose(1, 2).bmm(free));
  }
  return mapped;
}

// Returns the weights of a norm for each head, [heads, width], or nothing without a norm.
at::Tensor NormOfHeads(const at::Tensor& norm, int64_t heads, const AttentionShape& shape) {
  if (shape.key_norm == KeyNorm::kNone) return {};
  return norm.to(at::kCPU, at::kDouble).view({-1, shape.head_width}).expand({heads, -1});
}

// Applies maps to the coordinates that a norm returns, whose weights for each head are `norm` [heads, width]: D^-1 P D
// W in key_norm.h. Coordinates of weight zero must not be mixed with others.
at::Tensor MapBehindNorm(const at::Tensor& rows, const CoordinateMaps& maps, const at::Tensor& norm,
                         const AttentionShape& shape) {
  if (!norm.defined()) return MapCoordinates(rows, maps, shape);
  const at::Tensor weights = at::where(norm == 0, 1.0, norm).unsqueeze(2);
  return MapCoordinates(rows * weights, maps, shape) / weights;
}

// Returns, for each place, the source's KV head that its query head reads.
at::Tensor OwnersOf(const std::vector<int64_t>& query_order, const AttentionShape& shape) {
  std::vector<int64_t> owners;
  for (const int64_t head : query_order) owners.push_back(head / shape.QueriesPerHead());
  return Index(owners);
}

// Reorders the weights of a norm over all heads, which move with their heads.
at::Tensor OrderNorm(const at::Tensor& norm, const std::vector<int64_t>& order, const AttentionShape& shape) {
  if (shape.key_norm != KeyNorm::kAllHeads) return norm;
  return norm.view({-1, shape.head_width}).index_select(0, Index(order).to(norm.device())).flatten();
}

// Puts queries and outputs into the new order, which is the same for aligned and merged layers.
void PutQueriesAndOutput(AttentionWeights& result, const AttentionWeights& weights, const LayerAlignment& alignment,
                         const AttentionShape& shape) {
  const auto order = QueryHeadOrder(alignment, shape);
  const auto owners = OwnersOf(order, shape);
  const CoordinateMaps maps = CoordinateMaps{alignment.query_pairs, alignment.query_free}.Select(owners);
  const Rows queries = TakeRows(weights.query, weights.query_bias, shape.query_heads);
  result.query_norm = OrderNorm(weights.query_norm, order, shape);
  const at::Tensor norm = NormOfHeads(result.query_norm, shape.query_heads, shape);
  PutRows(queries, MapBehindNorm(queries.all.index_select(0, Index(order)), maps, norm, shape), result.query,
          result.query_bias);

  // W_o [any, heads * w]: head i sees O_i Wo_i, which in this layout is W_o's block times O_i^T.
  const auto output = weights.output.to(at::kCPU, at::kDouble);
  const auto heads = output.reshape({output.size(0), shape.query_heads, -1}).transpose(0, 1);
  const auto mapped =
      heads.index_select(0, Index(order)).bmm(alignment.value_output.index_select(0, owners).transpose(1, 2));
  result.output = mapped.transpose(0, 1).flatten(1).to(weights.output.options()).contiguous();
}

/// Returns the shape of the layer with the KV heads that the alignment groups.
absl::StatusOr<AttentionShape> GroupedShape(const LayerAlignment& alignment, const AttentionShape& of_layer) {
  const int64_t heads = alignment.groups.defined() ? alignment.HeadCount() : 0;
  if (heads > 0 && heads % of_layer.kv_heads == 0 && of_layer.query_heads % heads == 0) {
    return WithKvHeads(of_layer, heads);
  }
  return absl::InvalidArgumentError(
      fmt::format("the alignment groups {} KV heads, but the layer has {}", heads, of_layer.kv_heads));
}

at::Tensor MapValues(const at::Tensor& rows, const at::Tensor& maps) { return maps.transpose(1, 2).bmm(rows); }

// Sums consecutive heads: [G * s, width, n] becomes [G, width, n].
at::Tensor SumGroups(const at::Tensor& heads, int64_t groups) {
  return heads.view({groups, -1, heads.size(1), heads.size(2)}).sum(1);
}

}  // namespace

std::vector<int64_t> KvHeadOrder(const LayerAlignment& alignment) {
  std::vector<int64_t> order;
  for (const auto& group : alignment.Groups()) order.insert(order.end(), group.begin(), group.end());
  return order;
}

std::vector<int64_t> QueryHeadOrder(const LayerAlignment& alignment, const AttentionShape& of_layer) {
  const int64_t queries = of_layer.query_heads / alignment.HeadCount();
  std::vector<int64_t> order;
  for (const int64_t head : KvHeadOrder(alignment)) {
    for (int64_t i = 0; i < queries; ++i) order.push_back(head * queries + i);
  }
  return order;
}

absl::StatusOr<AttentionWeights> ApplyAlignment(const AttentionWeights& of_layer, const LayerAlignment& alignment,
                                                const AttentionShape& layer_shape) {
  const at::NoGradGuard no_grad;
  REGROUP_RETURN_IF_ERROR(CheckWeights(of_layer, layer_shape));
  REGROUP_ASSIGN_OR_RETURN(const AttentionShape shape, GroupedShape(alignment, layer_shape));
  const AttentionWeights weights = SplitHeads(of_layer, layer_shape, shape.kv_heads);
  AttentionWeights result;
  PutQueriesAndOutput(result, weights, alignment, shape);
  const auto order = Index(KvHeadOrder(alignment));
  const CoordinateMaps maps = CoordinateMaps{alignment.key_pairs_align, alignment.key_free_align}.Select(order);
  const Rows keys = TakeRows(weights.key, weights.key_bias, shape.kv_heads);
  result.key_norm = OrderNorm(weights.key_norm, KvHeadOrder(alignment), shape);
  const at::Tensor norm = NormOfHeads(result.key_norm, shape.kv_heads, shape);
  PutRows(keys, MapBehindNorm(keys.all.index_select(0, order), maps, norm, shape), result.key, result.key_bias);
  const Rows values = TakeRows(weights.value, weights.value_bias, shape.kv_heads);
  PutRows(values, MapValues(values.all.index_select(0, order), alignment.value_align.index_select(0, order)),
          result.value, result.value_bias);
  return result;
}

absl::StatusOr<AttentionWeights> MergeHeads(const AttentionWeights& of_layer, const LayerAlignment& alignment,
                                            const AttentionShape& layer_shape) {
  const at::NoGradGuard no_grad;
  REGROUP_RETURN_IF_ERROR(CheckWeights(of_layer, layer_shape));
  REGROUP_ASSIGN_OR_RETURN(const AttentionShape shape, GroupedShape(alignment, layer_shape));
  const AttentionWeights weights = SplitHeads(of_layer, layer_shape, shape.kv_heads);
  AttentionWeights result;
  PutQueriesAndOutput(result, weights, alignment, shape);
  const int64_t groups = alignment.GroupCount();
  const auto order = Index(KvHeadOrder(alignment));
  const Rows keys = TakeRows(weights.key, weights.key_bias, shape.kv_heads);
  result.key_norm = OrderNorm(weights.key_norm, KvHeadOrder(alignment), shape);
  const at::Tensor norm = NormOfHeads(result.key_norm, shape.kv_heads, shape);
  const auto mapped = [&](const at::Tensor& pairs, const at::Tensor& free) {
    return MapBehindNorm(keys.all.index_select(0, order), CoordinateMaps{pairs, free}.Select(order), norm, shape);
  };
  if (shape.key_norm == KeyNorm::kAllHeads) {
    const at::Tensor turned = mapped(alignment.key_pairs_align, alignment.key_free_align);
    const MergedKeys merged = MergeKeysUnderSharedNorm(turned, result.key_norm, groups);
    PutRows(keys, merged.rows, result.key, result.key_bias);
    result.key_norm = merged.norm.to(weights.key_norm.options());
  } else {
    const at::Tensor parts = mapped(alignment.key_pairs_merge, alignment.key_free_merge);
    PutRows(keys, SumGroups(parts, groups), result.key, result.key_bias);
  }
  const Rows values = TakeRows(weights.value, weights.value_bias, shape.kv_heads);
  const auto value_parts = MapValues(values.all.index_select(0, order), alignment.value_merge.index_select(0, order));
  PutRows(values, SumGroups(value_parts, groups), result.value, result.value_bias);
  return result;
}

absl::StatusOr<SpreadRows> SpreadHeads(const AttentionWeights& merged, const LayerAlignment& alignment,
                                       const AttentionShape& layer_shape) {
  const at::NoGradGuard no_grad;
  REGROUP_ASSIGN_OR_RETURN(const AttentionShape shape, GroupedShape(alignment, layer_shape));
  const int64_t groups = alignment.GroupCount();
  REGROUP_RETURN_IF_ERROR(CheckWeights(merged, WithKvHeads(shape, groups)));
  const auto order = Index(KvHeadOrder(alignment));
  const auto at_each_place = [&](const at::Tensor& rows) {
    return rows.to(at::kCPU, at::kDouble).view({groups, -1, rows.size(1)}).repeat_interleave(alignment.GroupSize(), 0);
  };
  const auto in_source_order = [&](const at::Tensor& heads) {
    return at::empty_like(heads).index_copy_(0, order, heads).flatten(0, 1);
  };
  // Re(conj(n q) z_g) = Re(conj(q) conj(n) z_g), and (q N) k_g^T = q (k_g N^T)^T.
  const at::Tensor conjugate = at::tensor({1.0, -1.0}, at::kDouble);
  const CoordinateMaps maps{(alignment.query_pairs * conjugate).index_select(0, order),
                            alignment.query_free.transpose(1, 2).index_select(0, order)};
  at::Tensor norm = NormOfHeads(merged.key_norm, groups, shape);
  if (norm.defined()) norm = norm.repeat_interleave(alignment.GroupSize(), 0);
  return SpreadRows{
      .key = in_source_order(MapBehindNorm(at_each_place(merged.key), maps, norm, shape)),
      .value = in_source_order(MapValues(at_each_place(merged.value), alignment.value_output.index_select(0, order)))};
}

}  // namespace regroup
