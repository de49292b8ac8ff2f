// Computes the figures of a finished alignment: the similarity of the heads, and the energy that merging loses.
//
// Pure; may be called from any thread, and uses the threads of ATen.
#pragma once

#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_grams.h"

namespace regroup {

/// Fills the similarities and residuals of `alignment`, whose maps are complete. They are defined in
/// layer_alignment.h; the errors of rotary pairs count half against those of other key coordinates
/// (similarities/residual.cc).
void FillFigures(LayerAlignment& alignment, const LayerGrams& grams);

}  // namespace regroup
