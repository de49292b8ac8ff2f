#include "trainer/alignment/align_layer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/figures.h"
#include "trainer/alignment/free_gauge.h"
#include "trainer/alignment/grouping.h"
#include "trainer/alignment/key_norm.h"
#include "trainer/alignment/logit_energy.h"
#include "trainer/alignment/parallel_tasks.h"
#include "trainer/alignment/registry.h"
#include "trainer/alignment/split_heads.h"

namespace regroup {
namespace {

template <typename Entry>
absl::Status UnknownWord(std::string_view key, std::string_view word, std::span<const Entry* const> table) {
  std::vector<std::string_view> known;
  for (const Entry* entry : table) known.push_back(entry->name);
  return absl::InvalidArgumentError(
      fmt::format("alignment.{} is \"{}\"; write one of {}", key, word, fmt::join(known, ", ")));
}

absl::Status CheckCompare(std::string_view compare) {
  for (const std::string_view word : {"none", "key", "value", "joint"}) {
    if (compare == word) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("alignment.compare is \"{}\"; write one of none, key, value, joint", compare));
}

absl::Status CheckGroupCount(const AttentionShape& shape, int64_t groups) {
  if (groups > 0 && groups <= shape.kv_heads && shape.kv_heads % groups == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "target.kv_heads is {}, but must be at most {}, the layer's KV heads, and divide them or its {} query "
      "heads",
      groups, shape.kv_heads, shape.query_heads));
}

absl::Status CheckOptions(const AlignmentOptions& options, const AttentionShape& shape, bool has_unit_grams) {
  if (!FindAlignmentMethod(options.method)) return UnknownWord("method", options.method, AlignmentMethods());
  if (!FindSimilarity(options.similarity)) return UnknownWord("similarity", options.similarity, Similarities());
  REGROUP_RETURN_IF_ERROR(CheckCompare(options.compare));
  REGROUP_RETURN_IF_ERROR(CheckGroupCount(shape, options.groups));
  if (NeedsUnitGrams(options) && !has_unit_grams) {
    return absl::InvalidArgumentError(fmt::format(
        "alignment.similarity is \"{}\", but these statistics were made without unit-length Grams; calibrate "
        "again or write distance",
        options.similarity));
  }
  return absl::OkStatus();
}

// Adds keys and values, each divided by the mean of their self-terms, so that neither outweighs the other.
at::Tensor Joint(const Similarity::Matrix& keys, const Similarity::Matrix& values) {
  const auto scaled = [](const Similarity::Matrix& part) {
    const double scale = part.self.mean().item<double>();
    return scale > 0 ? part.pairs / scale : part.pairs;
  };
  return scaled(keys) + scaled(values);
}

at::Tensor PairsToMaximise(const LayerGrams& grams, const AlignmentOptions& options) {
  const Similarity& similarity = *FindSimilarity(options.similarity);
  if (options.compare == "value") return similarity.of_values(grams).pairs;
  if (options.compare == "key") return similarity.of_keys(grams).pairs;
  return Joint(similarity.of_keys(grams), similarity.of_values(grams));
}

SimilarityMatrix ToMatrix(const at::Tensor& pairs) {
  const auto flat = pairs.contiguous();
  const double* const first = flat.const_data_ptr<double>();
  return {pairs.size(0), {first, first + pairs.numel()}};
}

at::Tensor ToTensor(const HeadGroups& groups) {
  std::vector<at::Tensor> rows;
  for (const auto& group : groups) rows.push_back(at::tensor(group, at::kLong));
  return at::stack(rows);
}

LayerAlignment EmptyAlignment(const AttentionShape& shape, const HeadGroups& groups) {
  const int64_t heads = shape.kv_heads;
  LayerAlignment alignment;
  alignment.groups = ToTensor(groups);
  for (auto* maps : {&alignment.value_align, &alignment.value_merge, &alignment.value_output}) {
    *maps = at::zeros({heads, shape.value_width, shape.value_width}, at::kDouble);
  }
  for (auto* maps : {&alignment.key_pairs_align, &alignment.key_pairs_merge, &alignment.query_pairs}) {
    *maps = at::zeros({heads, shape.RotaryPairs(), 2}, at::kDouble);
  }
  for (auto* maps : {&alignment.key_free_align, &alignment.key_free_merge, &alignment.query_free}) {
    *maps = at::zeros({heads, shape.FreeWidth(), shape.FreeWidth()}, at::kDouble);
  }
  return alignment;
}

void PutGroup(LayerAlignment& alignment, const std::vector<int64_t>& group, const GroupMaps& maps) {
  const auto heads = at::tensor(group, at::kLong);
  const auto put = [&](at::Tensor& all, const at::Tensor& part) { all.index_copy_(0, heads, part.contiguous()); };
  const auto put_complex = [&](at::Tensor& all, const at::Tensor& part) {
    all.index_copy_(0, heads, at::view_as_real(part.resolve_conj()).contiguous());
  };
  put(alignment.value_align, maps.value_align);
  put(alignment.value_merge, maps.value_merge);
  put(alignment.value_output, maps.value_output);
  put_complex(alignment.key_pairs_align, maps.key_pairs_align);
  put_complex(alignment.key_pairs_merge, maps.key_pairs_merge);
  put_complex(alignment.query_pairs, maps.query_pairs);
  put(alignment.key_free_align, maps.key_free_align);
  put(alignment.key_free_merge, maps.key_free_merge);
  put(alignment.query_free, maps.query_free);
  alignment.iterations = std::max(alignment.iterations, maps.iterations);
}

void SolveGroups(LayerAlignment& alignment, const HeadGroups& groups, const LayerGrams& grams,
                 const AlignmentMethod& method, const MethodOptions& options) {
  std::vector<GroupMaps> maps(groups.size());
  ParallelTasks(static_cast<int64_t>(groups.size()), grams.shape.head_width,
                [&](int64_t g) { maps[g] = method.solve(grams.Select(groups[g]), options); });
  for (size_t g = 0; g < groups.size(); ++g) PutGroup(alignment, groups[g], maps[g]);
}

}  // namespace

bool NeedsUnitGrams(const AlignmentOptions& options) {
  const Similarity* similarity = FindSimilarity(options.similarity);
  const AlignmentMethod* method = FindAlignmentMethod(options.method);
  if (!similarity || !similarity->unit_grams) return false;
  return options.compare != "none" || (method && method->follows_similarity);
}

absl::StatusOr<LayerAlignment> AlignLayer(const LayerStatistics& statistics, const AttentionWeights& weights,
                                          const AlignmentOptions& options) {
  REGROUP_RETURN_IF_ERROR(CheckWeights(weights, statistics.Shape()));
  const int64_t heads = HeadsForTarget(statistics.Shape(), options.groups);
  if (heads != statistics.Shape().kv_heads) {
    return AlignLayer(statistics.Split(heads), SplitHeads(weights, statistics.Shape(), heads), options);
  }
  REGROUP_RETURN_IF_ERROR(CheckOptions(options, statistics.Shape(), statistics.HasUnitGrams()));
  const AttentionWeights linear = LineariseNorms(weights, statistics.Shape(), statistics);
  REGROUP_ASSIGN_OR_RETURN(const LayerGrams grams, BuildGrams(statistics, linear));
  return AlignGrams(grams, weights, options);
}

absl::StatusOr<LayerAlignment> AlignGrams(const LayerGrams& of_layer, const AttentionWeights& weights,
                                          const AlignmentOptions& options) {
  const at::NoGradGuard no_grad;
  const AttentionShape& shape = of_layer.shape;
  REGROUP_RETURN_IF_ERROR(CheckOptions(options, shape, of_layer.unit_value.defined()));
  REGROUP_RETURN_IF_ERROR(CheckWeights(weights, shape));
  const AlignmentMethod& method = *FindAlignmentMethod(options.method);
  LayerGrams grams = of_layer;
  if (shape.key_norm != KeyNorm::kNone) grams.turns = KeyTurnsOf(weights, shape, method.behind_norm);
  HeadGroups groups = NeighbourGroups(shape.kv_heads, options.groups);
  at::Tensor pairs;
  if (options.compare != "none") {
    pairs = PairsToMaximise(grams, options);
    if (!at::isfinite(pairs).all().item<bool>()) {
      return absl::FailedPreconditionError(
          fmt::format("the heads' similarity ({}) is not finite on the calibration text", options.similarity));
    }
    groups = GroupHeads(ToMatrix(pairs), options.groups, static_cast<uint64_t>(options.seed));
  }
  const MethodOptions method_options{
      .restore_norm = options.restore_norm.value_or(method.restore_norm),
      .unit_length = method.follows_similarity && FindSimilarity(options.similarity)->unit_grams,
  };
  LayerAlignment alignment = EmptyAlignment(shape, groups);
  alignment.grouping_similarity = pairs;
  SolveGroups(alignment, groups, grams, method, method_options);
  if (options.match_energy) MatchLogitEnergy(alignment, grams);
  if (method.free_gauge && method_options.restore_norm) NormaliseFreeGauge(alignment, weights, shape);
  if (shape.key_norm != KeyNorm::kNone) {
    AverageKeys(alignment, shape);
    TurnKeys(alignment, grams);
  }
  FillFigures(alignment, grams);
  if (shape.key_norm == KeyNorm::kPerHead) EqualiseKeys(alignment, weights, shape);
  return alignment;
}

absl::StatusOr<LayerAlignment> AlignWithoutStatistics(const AttentionShape& shape, const AttentionWeights& weights,
                                                      const AlignmentOptions& options) {
  const at::NoGradGuard no_grad;
  REGROUP_RETURN_IF_ERROR(CheckWeights(weights, shape));
  if (const int64_t heads = HeadsForTarget(shape, options.groups); heads != shape.kv_heads) {
    return AlignWithoutStatistics(WithKvHeads(shape, heads), SplitHeads(weights, shape, heads), options);
  }
  REGROUP_RETURN_IF_ERROR(CheckOptions(options, shape, /*has_unit_grams=*/true));
  if (options.method != "none" || options.compare != "none" || options.match_energy) {
    return absl::InvalidArgumentError(
        "calibration.data: is missing; only alignment.method none with compare none and without match_energy needs "
        "none");
  }
  REGROUP_ASSIGN_OR_RETURN(LayerAlignment alignment, AverageNeighbours(shape, options.groups));
  if (shape.key_norm == KeyNorm::kPerHead) EqualiseKeys(alignment, weights, shape);
  return alignment;
}

absl::StatusOr<LayerAlignment> AverageNeighbours(const AttentionShape& of_layer, int64_t groups) {
  REGROUP_RETURN_IF_ERROR(CheckShape(of_layer));
  const AttentionShape shape = WithKvHeads(of_layer, HeadsForTarget(of_layer, groups));
  REGROUP_RETURN_IF_ERROR(CheckGroupCount(shape, groups));
  const HeadGroups neighbours = NeighbourGroups(shape.kv_heads, groups);
  LayerAlignment alignment = EmptyAlignment(shape, neighbours);
  LayerGrams sizes;  // averaging uses nothing else
  sizes.shape = shape;
  sizes.shape.kv_heads = shape.kv_heads / groups;
  sizes.shape.query_heads = shape.query_heads / groups;
  const GroupMaps maps = FindAlignmentMethod("none")->solve(sizes, {});
  for (const auto& group : neighbours) PutGroup(alignment, group, maps);
  return alignment;
}

}  // namespace regroup
