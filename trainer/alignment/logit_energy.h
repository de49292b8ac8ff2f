// Restores the size of the logits of shared keys (README.md, "Merging a group").
//
// Merging loses part of the keys, and the rest gives smaller logits: a softmax at a higher temperature. With w_a =
// E|q_a|^2, the mean square of rotary pair t's contribution to the logits of head a is w_at E|k_at|^2 / 2, and after
// merging |n_at|^2 w_at E|k_gt|^2 / 2 (queries and keys taken as independent). The shared pair is scaled so that the
// sums over the heads of the group agree; all coordinates without rotation get one scale, from tr(E q_a^T q_a E k_a^T
// k_a).
#pragma once

#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_grams.h"

namespace regroup {

/// Scales the merging maps of the keys. Nothing else changes: the function of the merged model changes and that of the
/// aligned one does not. Parts without energy are left as they are.
void MatchLogitEnergy(LayerAlignment& alignment, const LayerGrams& grams);

}  // namespace regroup
