// The result of aligning one attention layer: its groups of KV heads, and the maps into each group's shared head.
//
// It is a plain value, written to one file per layer, and may be read from any thread. All tensors are on the CPU,
// float64 unless said otherwise, and indexed by the source's own head order. Formulas are written for row vectors: head
// i of a token is v_i [value_width] or k_i [head_width] before rotation.
//
//   values   aligned head v_i R_i, shared head of group g: v_g = sum_{i in g} v_i M_i, output Wo_i' = O_i Wo_i,
//            where Wo_i [value_width, any] is the block of W_o^T that head i meets. R_i O_i = I.
//   keys     rotary pair t as one complex number z = x_first + j x_second: aligned c_it z_it, shared sum_i m_it z_it,
//            query q' = n_it q with n_it = 1 / conj(c_it). The other coordinates, as a row vector: aligned k_i F_i,
//            shared sum_i k_i E_i, query q' = q N_i with N_i = F_i^-T.
//
// The maps of keys and queries behind a norm apply to what the norm returns (key_norm.h).
//
// The inverses are exact except for directions that `principal` drops entirely (see principal.cc). A query head uses
// the query map and the output map of its KV head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/alignment/attention.h"
#include "trainer/alignment/named_tensors.h"

namespace regroup {

struct LayerAlignment {
  /// Lists the KV heads of each group, int64 [groups, group size]: sorted inside, groups ordered by their first head.
  at::Tensor groups;

  at::Tensor value_align;   // R [kv_heads, value_width, value_width]
  at::Tensor value_merge;   // M
  at::Tensor value_output;  // O

  at::Tensor key_pairs_align;  // c [kv_heads, pairs, 2]: real and imaginary part
  at::Tensor key_pairs_merge;  // m
  at::Tensor query_pairs;      // n

  at::Tensor key_free_align;  // F [kv_heads, free, free]
  at::Tensor key_free_merge;  // E
  at::Tensor query_free;      // N

  // The figures' matrices are over all KV heads, [kv_heads, kv_heads]; undefined if there were no statistics.
  /// The similarities whose sum inside the groups was maximised; undefined if neighbours were grouped.
  at::Tensor grouping_similarity;
  /// The energy-weighted cosine of two heads over the calibration tokens, E<a, b> / sqrt(E|a|^2 E|b|^2), before and
  /// after each head's own map. Every method has the same definition, but compare methods by residuals: `principal` may
  /// stretch coordinates that the shared head drops, so that its figure afterwards is low where its residual is low
  /// too.
  at::Tensor value_similarity_before, value_similarity_after;
  at::Tensor key_similarity_before, key_similarity_after;
  /// The means of these cosines over pairs inside groups, keys and values together; 1 if groups have one head.
  double similarity_before = 1;
  double similarity_after = 1;
  /// The shares of the energy that merging loses, by the same measure for all methods: values as the output projection
  /// sees them, sum_i E|(v_i - v_g O_i) Wo_i|^2 / sum_i E|v_i Wo_i|^2; keys as the queries see them, likewise with the
  /// queries' second moment in place of Wo Wo^T. 0 is lossless; plain averaging may exceed 1.
  double residual_value = 0;
  double residual_key = 0;
  /// Number of sweeps of the slowest group.
  int64_t iterations = 0;

  std::vector<std::vector<int64_t>> Groups() const;
  int64_t GroupCount() const { return groups.size(0); }
  int64_t GroupSize() const { return groups.size(1); }
  /// Returns the number of KV heads that are in groups: the layer's, or a multiple of it (split_heads.h).
  int64_t HeadCount() const { return groups.numel(); }

  NamedTensors ToTensors() const;
  /// Restores the result of ToTensors for a layer of this shape, whose KV heads may have been split. Returns
  /// INVALID_ARGUMENT with the name of a missing or misshapen tensor.
  static absl::StatusOr<LayerAlignment> FromTensors(const AttentionShape& of_layer, const TensorMap& tensors);
};

}  // namespace regroup
