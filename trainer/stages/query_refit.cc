#include "trainer/stages/query_refit.h"

#include <ATen/ATen.h>

#include "trainer/alignment/coordinate_maps.h"
#include "trainer/alignment/merge_heads.h"

namespace regroup {
namespace {

constexpr double kRidge = 1e-3;
/// Of the mean power of a pair or coordinate: what is less is noise.
constexpr double kSmallestPower = 1e-6;

/// [B, T, heads d] -> [heads, tokens, d].
at::Tensor Heads(const at::Tensor& rows, int64_t width) {
  return rows.flatten(0, 1).unflatten(1, {-1, width}).transpose(0, 1);
}

at::Tensor WithOnes(const at::Tensor& rows) { return at::cat({rows, at::ones({rows.size(0), 1}, rows.options())}, 1); }

}  // namespace

QueryRefit::QueryRefit(const AttentionShape& shape, const LayerAlignment& alignment, bool with_bias, at::Device device)
    : shape_(shape), alignment_(alignment), with_bias_(with_bias) {
  const auto zeros = [&](at::IntArrayRef sizes) {
    return at::zeros(sizes, at::TensorOptions(at::kDouble).device(device));
  };
  const int64_t inputs = shape.QueryInputWidth() + (with_bias ? 1 : 0);
  const int64_t groups = alignment.GroupCount();
  const int64_t free = shape.FreeWidth();
  moment_ = zeros({inputs, inputs});
  product_ = zeros({inputs, shape.query_heads * shape.head_width});
  pair_cross_ = zeros({shape.kv_heads, shape.RotaryPairs(), 2});
  pair_power_ = zeros({groups, shape.RotaryPairs()});
  free_cross_ = zeros({shape.kv_heads, free, free});
  free_gram_ = zeros({groups, free, free});
  source_sum_ = zeros({shape.kv_heads, free});
  shared_sum_ = zeros({groups, free});
  tokens_ = zeros({1});
  kv_order_ = at::tensor(KvHeadOrder(alignment), at::kLong).to(device);
  query_order_ = at::tensor(QueryHeadOrder(alignment, shape), at::kLong).to(device);
}

void QueryRefit::Add(const AttentionRows& source, const at::Tensor& source_queries, const AttentionRows& converted) {
  at::Tensor inputs = converted.query.flatten(0, 1);
  if (with_bias_) inputs = WithOnes(inputs);
  const at::Tensor queries = Heads(source_queries, shape_.head_width).index_select(0, query_order_);
  moment_ += at::mm(inputs.t(), inputs);
  product_ += at::mm(inputs.t(), queries.transpose(0, 1).flatten(1));

  const at::Tensor keys = Heads(source.keys, shape_.head_width).index_select(0, kv_order_);
  const at::Tensor shared = Heads(converted.keys, shape_.head_width);
  const at::Tensor repeated = shared.repeat_interleave(alignment_.GroupSize(), 0);
  if (shape_.RotaryPairs() > 0) {
    const auto first = FirstOfPairs(shape_).to(keys.device()), second = SecondOfPairs(shape_).to(keys.device());
    const auto part = [](const at::Tensor& rows, const at::Tensor& index) { return rows.index_select(2, index); };
    const at::Tensor x = part(keys, first), y = part(keys, second);
    const at::Tensor gx = part(repeated, first), gy = part(repeated, second);
    pair_cross_ += at::stack({(gx * x + gy * y).sum(1), (gx * y - gy * x).sum(1)}, 2);
    pair_power_ += (part(shared, first).square() + part(shared, second).square()).sum(1);
  }
  if (shape_.FreeWidth() > 0) {
    const auto part = [&](const at::Tensor& rows) { return rows.narrow(2, shape_.rotary_width, shape_.FreeWidth()); };
    free_cross_ += part(repeated).transpose(1, 2).bmm(part(keys));
    free_gram_ += part(shared).transpose(1, 2).bmm(part(shared));
    source_sum_ += part(keys).sum(1);
    shared_sum_ += part(shared).sum(1);
  }
  tokens_ += keys.size(1);
}

std::vector<at::Tensor> QueryRefit::Sums() const {
  std::vector<at::Tensor> sums = {moment_, product_, tokens_};
  if (shape_.RotaryPairs() > 0) sums.insert(sums.end(), {pair_cross_, pair_power_});
  if (shape_.FreeWidth() > 0) sums.insert(sums.end(), {free_cross_, free_gram_, source_sum_, shared_sum_});
  return sums;
}

at::Tensor QueryRefit::MappedTargets() const {
  const int64_t size = alignment_.GroupSize();
  CoordinateMaps maps{at::zeros_like(pair_cross_), at::zeros_like(free_cross_)};
  if (shape_.RotaryPairs() > 0) {
    const auto power = at::maximum(pair_power_, kSmallestPower * pair_power_.mean()).repeat_interleave(size, 0);
    const auto alpha = pair_cross_ / power.unsqueeze(2);
    maps.pairs = at::stack({alpha.select(2, 0), -alpha.select(2, 1)}, 2);
  }
  if (shape_.FreeWidth() > 0) {
    const auto shared_mean = shared_sum_ / tokens_, source_mean = source_sum_ / tokens_;
    const auto outer = [&](const at::Tensor& a, const at::Tensor& b) { return a.unsqueeze(2) * b.unsqueeze(1); };
    auto gram = free_gram_ / tokens_ - outer(shared_mean, shared_mean);
    gram.diagonal(0, 1, 2).add_(kSmallestPower * gram.diagonal(0, 1, 2).mean());
    const auto repeated_mean = shared_mean.repeat_interleave(size, 0);
    const auto cross = free_cross_ / tokens_ - outer(repeated_mean, source_mean);
    maps.free = at::linalg_solve(gram.repeat_interleave(size, 0), cross).transpose(1, 2);
  }
  const auto heads = product_.t().unflatten(0, {-1, shape_.head_width});  // rows of a projection, of each query head
  const auto owners = at::arange(heads.size(0), at::TensorOptions(at::kLong).device(heads.device()))
                          .div(shape_.QueriesPerHead(), "floor");
  return MapCoordinates(heads, maps.Select(owners), shape_).flatten(0, 1).t();
}

Linear QueryRefit::Solve(const Linear& old) const {
  at::Tensor rows = old.weight.to(at::kDouble);
  if (with_bias_) rows = at::cat({rows, old.bias.to(at::kDouble).unsqueeze(1)}, 1);
  at::Tensor moment = moment_.clone();
  const at::Tensor ridge = moment.diagonal().mean() * kRidge;
  moment.diagonal().add_(ridge);
  const at::Tensor solved = at::linalg_solve(moment, MappedTargets() + ridge * rows.t()).t();
  Linear result = old;
  result.weight = solved.narrow(1, 0, old.weight.size(1)).to(old.weight.scalar_type()).contiguous();
  if (with_bias_) result.bias = solved.select(1, old.weight.size(1)).to(old.bias.scalar_type()).contiguous();
  return result;
}

}  // namespace regroup
