// Aligns one layer from its statistics: groups its KV heads, then finds the transforms inside each group, as README.md
// describes under "Which heads form a group" and "Merging a group".
//
// The functions are pure: the same input and seed give the same answer. They may be called from any thread, and use the
// threads of ATen (one small decomposition per thread).
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
  /// Name of an entry of AlignmentMethods(): none | procrustes | principal.
  std::string method = "procrustes";
  /// The part of the heads whose similarity decides the groups: none (neighbours) | key | value | joint.
  std::string compare = "value";
  /// Name of an entry of Similarities(): cosine | distance | residual.
  std::string similarity = "cosine";
  /// Number of KV heads of the result; must divide the layer's number.
  int64_t groups = 1;
  /// Seed of the grouping's annealing.
  int64_t seed = 0;
  /// With procrustes, scales each shared head to the mean energy of the heads that it replaces. With principal, chooses
  /// the free scale of each shared row so that it has the norm of the rows that it replaces, which leaves the function
  /// unchanged. The default is false for none and procrustes, true for principal.
  std::optional<bool> restore_norm;
  /// Scales shared keys to the logit energy of the keys they replace (logit_energy.h). Has no effect under a norm of
  /// keys, which scales them itself.
  bool match_energy = false;
};

/// Returns true if these options read the unit-length Grams of LayerStatistics.
bool NeedsUnitGrams(const AlignmentOptions& options);

/// Returns the layer's groups and maps, of its KV heads or, if the target does not divide their number, of their copies
/// for fewer query heads (split_heads.h). Fails with INVALID_ARGUMENT for an unknown name, a group count that does not
/// divide, weights of another shape, or statistics that lack what the options need (the message says which); with
/// FAILED_PRECONDITION for no tokens, or values that are not finite.
absl::StatusOr<LayerAlignment> AlignLayer(const LayerStatistics& statistics, const AttentionWeights& weights,
                                          const AlignmentOptions& options);

/// Does the same from existing Grams, whose number of heads the target must divide. Building them (BuildGrams) is most
/// of the work for a wide layer and depends on the statistics only. The weights are read for the free gauge and for the
/// sizes of keys behind a norm.
absl::StatusOr<LayerAlignment> AlignGrams(const LayerGrams& grams, const AttentionWeights& weights,
                                          const AlignmentOptions& options);

/// Does the same for a job without calibration text: method none with compare none, without match_energy. The maps are
/// those that AlignLayer returns, and there are no figures. INVALID_ARGUMENT for any other options.
absl::StatusOr<LayerAlignment> AlignWithoutStatistics(const AttentionShape& shape, const AttentionWeights& weights,
                                                      const AlignmentOptions& options);

/// Returns the plain averages of neighbouring heads, which need no statistics and have no figures.
absl::StatusOr<LayerAlignment> AverageNeighbours(const AttentionShape& shape, int64_t groups);

}  // namespace regroup
