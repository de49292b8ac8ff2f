#include "trainer/alignment/attention.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <initializer_list>
#include <string_view>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

absl::Status CheckTensor(std::string_view name, const at::Tensor& tensor, at::IntArrayRef expected) {
  if (!tensor.defined()) return absl::InvalidArgumentError(fmt::format("attention weight {} is missing", name));
  if (tensor.sizes() == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("attention weight {} has shape [{}], but the model's sizes ask for [{}]", name,
                  fmt::join(tensor.sizes(), ", "), fmt::join(expected, ", ")));
}

absl::Status CheckBias(std::string_view name, const at::Tensor& bias, int64_t size) {
  return bias.defined() ? CheckTensor(name, bias, {size}) : absl::OkStatus();
}

at::Tensor PairIndices(const AttentionShape& shape, int64_t second) {
  const auto pairs = at::arange(shape.RotaryPairs(), at::kLong);
  return shape.interleaved ? pairs * 2 + second : pairs + second * shape.RotaryPairs();
}

}  // namespace

absl::Status CheckShape(const AttentionShape& shape) {
  const std::initializer_list<std::pair<std::string_view, int64_t>> sizes = {
      {"hidden", shape.hidden},           {"query_heads", shape.query_heads},
      {"kv_heads", shape.kv_heads},       {"head_width", shape.head_width},
      {"value_width", shape.value_width}, {"query input width", shape.QueryInputWidth()}};
  for (const auto& [name, size] : sizes) {
    if (size <= 0)
      return absl::InvalidArgumentError(fmt::format("attention size {} is {}, but must be positive", name, size));
  }
  if (shape.query_heads % shape.kv_heads != 0) {
    return absl::InvalidArgumentError(
        fmt::format("{} query heads cannot share {} KV heads equally", shape.query_heads, shape.kv_heads));
  }
  if (shape.rotary_width < 0 || shape.rotary_width > shape.head_width || shape.rotary_width % 2 != 0) {
    return absl::InvalidArgumentError(fmt::format("rotary width {} must be even and at most the head width {}",
                                                  shape.rotary_width, shape.head_width));
  }
  return absl::OkStatus();
}

absl::Status CheckWeights(const AttentionWeights& weights, const AttentionShape& shape) {
  REGROUP_RETURN_IF_ERROR(CheckShape(shape));
  const int64_t query_rows = shape.query_heads * shape.head_width;
  const int64_t key_rows = shape.kv_heads * shape.head_width;
  const int64_t value_rows = shape.kv_heads * shape.value_width;
  REGROUP_RETURN_IF_ERROR(CheckTensor("query", weights.query, {query_rows, shape.QueryInputWidth()}));
  REGROUP_RETURN_IF_ERROR(CheckTensor("key", weights.key, {key_rows, shape.hidden}));
  REGROUP_RETURN_IF_ERROR(CheckTensor("value", weights.value, {value_rows, shape.hidden}));
  const int64_t outputs = weights.output.defined() && weights.output.dim() > 0 ? weights.output.size(0) : 0;
  REGROUP_RETURN_IF_ERROR(CheckTensor("output", weights.output, {outputs, shape.query_heads * shape.value_width}));
  REGROUP_RETURN_IF_ERROR(CheckBias("query_bias", weights.query_bias, query_rows));
  REGROUP_RETURN_IF_ERROR(CheckBias("key_bias", weights.key_bias, key_rows));
  REGROUP_RETURN_IF_ERROR(CheckBias("value_bias", weights.value_bias, value_rows));
  if (shape.key_norm == KeyNorm::kNone) return absl::OkStatus();
  const bool per_head = shape.key_norm == KeyNorm::kPerHead;
  REGROUP_RETURN_IF_ERROR(CheckTensor("query_norm", weights.query_norm, {per_head ? shape.head_width : query_rows}));
  return CheckTensor("key_norm", weights.key_norm, {per_head ? shape.head_width : key_rows});
}

at::Tensor FirstOfPairs(const AttentionShape& shape) { return PairIndices(shape, 0); }

at::Tensor SecondOfPairs(const AttentionShape& shape) { return PairIndices(shape, 1); }

}  // namespace regroup
