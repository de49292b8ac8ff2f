// Chooses the scale of shared rows, which the model cannot see.
//
// A shared row may be scaled by any number if the queries or outputs that read it are scaled by its inverse. Optimisers
// and narrow number formats do see it: so each shared row gets the norm of the rows it replaces.
#pragma once

#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"

namespace regroup {

/// Scales the maps of `alignment` so that each shared value row, each rotary pair of shared key rows and each other
/// shared key row has the root-mean-square norm of the corresponding rows of the group's heads (of all value rows and
/// all free key rows: those are mixed freely). Rows that are nearly zero are scaled by at most 1e6. The function of the
/// merged and of the aligned model stays the same.
void NormaliseFreeGauge(LayerAlignment& alignment, const AttentionWeights& weights, const AttentionShape& shape);

}  // namespace regroup
