// From the statistics of one layer to its alignment: grouping (4.3), then transforms inside each group (4.4).
//
// Pure functions: same input and seed, same answer. They may be called from any thread, and use the threads of ATen
// (one small decomposition per thread).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_grams.h"
#include "trainer/alignment/layer_statistics.h"

namespace regroup {

struct AlignmentOptions {
  /// An entry of AlignmentMethods(): none | procrustes | principal.
  std::string method = "procrustes";
  /// What decides the groups: none (neighbours) | key | value | joint.
  std::string compare = "value";
  /// An entry of Similarities(): cosine | distance | residual.
  std::string similarity = "cosine";
  /// KV heads of the result; divides the layer's.
  int64_t groups = 1;
  /// Seed of the grouping's annealing.
  int64_t seed = 0;
  /// procrustes: scale each shared head to the mean energy of the heads it replaces. principal: choose the free scale
  /// of each shared row so that it has the norm of the rows it replaces, which leaves the function unchanged.
  /// Default: false for none and procrustes, true for principal.
  std::optional<bool> restore_norm;
  /// Scale shared keys to the logit energy of the keys they replace (logit_energy.h). No effect under a norm of keys,
  /// which scales them itself.
  bool match_energy = false;
};

/// Whether these options read the unit-length Grams of LayerStatistics.
bool NeedsUnitGrams(const AlignmentOptions& options);

/// INVALID_ARGUMENT: a word that no table has, a group count that does not divide, weights of another shape, or
/// statistics that lack what the options need (the message says which). FAILED_PRECONDITION: no tokens, or values that
/// are not finite.
absl::StatusOr<LayerAlignment> AlignLayer(const LayerStatistics& statistics, const AttentionWeights& weights,
                                          const AlignmentOptions& options);

/// The same from Grams at hand. Making them (BuildGrams) is most of the work of a wide layer and depends on the
/// statistics only. The weights are read for the free gauge and for the sizes of keys behind a norm.
absl::StatusOr<LayerAlignment> AlignGrams(const LayerGrams& grams, const AttentionWeights& weights,
                                          const AlignmentOptions& options);

/// Plain averaging of neighbouring heads: needs no statistics and has no figures.
absl::StatusOr<LayerAlignment> AverageNeighbours(const AttentionShape& shape, int64_t groups);

}  // namespace regroup
