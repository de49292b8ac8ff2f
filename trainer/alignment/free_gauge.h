// Chooses the scale of shared rows, which does not change the model's function.
//
// A shared row may be scaled by any number if the queries or outputs that read it are scaled by its inverse. It matters
// to optimisers and narrow number formats, so each shared row gets the norm of the rows that it replaces.
#pragma once

#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"

namespace regroup {

/// Scales the maps of `alignment` so that each shared value row, each rotary pair of shared key rows and each other
/// shared key row has the root-mean-square norm of the corresponding rows of the group's heads (all value rows, and all
/// free key rows, count together: the maps mix them freely). Rows that are nearly zero are scaled by at most 1e6. The
/// function of the merged and of the aligned model stays the same.
void NormaliseFreeGauge(LayerAlignment& alignment, const AttentionWeights& weights, const AttentionShape& shape);

}  // namespace regroup
