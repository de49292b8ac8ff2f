#include "trainer/alignment/layer_alignment.h"

#include <ATen/ATen.h>

#include <string_view>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/split_heads.h"

namespace regroup {
namespace {

struct NamedField {
  std::string_view name;
  at::Tensor LayerAlignment::*field;
};

constexpr NamedField kMaps[] = {
    {"value_align", &LayerAlignment::value_align},         {"value_merge", &LayerAlignment::value_merge},
    {"value_output", &LayerAlignment::value_output},       {"key_pairs_align", &LayerAlignment::key_pairs_align},
    {"key_pairs_merge", &LayerAlignment::key_pairs_merge}, {"query_pairs", &LayerAlignment::query_pairs},
    {"key_free_align", &LayerAlignment::key_free_align},   {"key_free_merge", &LayerAlignment::key_free_merge},
    {"query_free", &LayerAlignment::query_free},
};

constexpr NamedField kFigures[] = {
    {"grouping_similarity", &LayerAlignment::grouping_similarity},
    {"value_similarity_before", &LayerAlignment::value_similarity_before},
    {"value_similarity_after", &LayerAlignment::value_similarity_after},
    {"key_similarity_before", &LayerAlignment::key_similarity_before},
    {"key_similarity_after", &LayerAlignment::key_similarity_after},
};

// similarity_before, similarity_after, residual_value, residual_key, iterations
constexpr std::string_view kScalars = "figures";
constexpr int64_t kScalarCount = 5;

std::vector<int64_t> MapSizes(std::string_view name, const AttentionShape& shape) {
  if (name.starts_with("value")) return {shape.kv_heads, shape.value_width, shape.value_width};
  if (name.find("pairs") != name.npos) return {shape.kv_heads, shape.RotaryPairs(), 2};
  return {shape.kv_heads, shape.FreeWidth(), shape.FreeWidth()};
}

/// Returns the shape whose KV heads the groups name: the layer's, or that after a split.
absl::StatusOr<AttentionShape> SplitShape(const at::Tensor& groups, const AttentionShape& of_layer) {
  const int64_t count = groups.numel();
  const auto heads = std::get<0>(groups.flatten().sort());
  const bool fits = count > 0 && count % of_layer.kv_heads == 0 && of_layer.query_heads % count == 0;
  if (fits && groups.scalar_type() == at::kLong && heads.equal(at::arange(count, at::kLong)))
    return WithKvHeads(of_layer, count);
  return absl::InvalidArgumentError("tensor groups must name every KV head once");
}

}  // namespace

std::vector<std::vector<int64_t>> LayerAlignment::Groups() const {
  std::vector<std::vector<int64_t>> all;
  for (int64_t g = 0; g < GroupCount(); ++g) {
    const auto row = groups[g].contiguous();
    all.emplace_back(row.const_data_ptr<int64_t>(), row.const_data_ptr<int64_t>() + row.numel());
  }
  return all;
}

NamedTensors LayerAlignment::ToTensors() const {
  NamedTensors tensors = {{"groups", groups}};
  for (const auto& [name, field] : kMaps) {
    if ((this->*field).numel() > 0) tensors.emplace_back(name, (this->*field).contiguous());
  }
  for (const auto& [name, field] : kFigures) {
    if ((this->*field).defined()) tensors.emplace_back(name, (this->*field).contiguous());
  }
  const std::vector<double> scalars = {similarity_before, similarity_after, residual_value, residual_key,
                                       static_cast<double>(iterations)};
  tensors.emplace_back(kScalars, at::tensor(scalars, at::kDouble));
  return tensors;
}

absl::StatusOr<LayerAlignment> LayerAlignment::FromTensors(const AttentionShape& of_layer, const TensorMap& tensors) {
  REGROUP_RETURN_IF_ERROR(CheckShape(of_layer));
  LayerAlignment alignment;
  REGROUP_ASSIGN_OR_RETURN(alignment.groups, TakeTensor(tensors, "groups", {-1, -1}));
  REGROUP_ASSIGN_OR_RETURN(const AttentionShape shape, SplitShape(alignment.groups, of_layer));
  for (const auto& [name, field] : kMaps) {
    const auto sizes = MapSizes(name, shape);
    alignment.*field = at::empty(sizes, at::kDouble);
    if ((alignment.*field).numel() == 0) continue;  // not written: there is no such coordinate
    REGROUP_ASSIGN_OR_RETURN(alignment.*field, TakeTensor(tensors, name, sizes));
  }
  for (const auto& [name, field] : kFigures) {
    if (!tensors.contains(std::string(name))) continue;
    REGROUP_ASSIGN_OR_RETURN(alignment.*field, TakeTensor(tensors, name, {shape.kv_heads, shape.kv_heads}));
  }
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor scalars, TakeTensor(tensors, kScalars, {kScalarCount}));
  alignment.similarity_before = scalars[0].item<double>();
  alignment.similarity_after = scalars[1].item<double>();
  alignment.residual_value = scalars[2].item<double>();
  alignment.residual_key = scalars[3].item<double>();
  alignment.iterations = scalars[4].item<int64_t>();
  return alignment;
}

}  // namespace regroup
