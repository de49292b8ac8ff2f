// Between a model's blocks and the alignment: the same weights under the alignment's names, and back.
#pragma once

#include "absl/status/statusor.h"
#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_statistics.h"
#include "trainer/nn/model.h"
#include "trainer/nn/transformer.h"

namespace regroup {

AttentionShape AttentionShapeOf(const ModelConfig& config, int64_t layer);

/// Shares the tensors.
AttentionWeights AttentionWeightsOf(const Block& block);

/// What statistics see of one forward pass through a layer.
AttentionActivations ActivationsOf(const AttentionRows& rows);

/// Puts the weights of `attention` into the block, in the block's dtype and on its device; the output's bias stays.
void SetAttention(Block& block, const AttentionWeights& attention);

/// Replaces the block's attention by the one with aligned heads, none of them merged: the same function.
absl::Status AlignBlock(Block& block, const ModelConfig& source_config, int64_t layer, const LayerAlignment& alignment);

/// Replaces the block's attention by the merged one.
absl::Status MergeBlock(Block& block, const ModelConfig& source_config, int64_t layer, const LayerAlignment& alignment);

}  // namespace regroup
