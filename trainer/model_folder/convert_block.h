// Converts a model's blocks to the alignment's weights and back.
#pragma once

#include "absl/status/statusor.h"
#include "trainer/alignment/attention.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/alignment/layer_statistics.h"
#include "trainer/nn/model.h"
#include "trainer/nn/transformer.h"

namespace regroup {

AttentionShape AttentionShapeOf(const ModelConfig& config, int64_t layer);

/// Returns the weights under the alignment's names, sharing the tensors. Those of norms are the factors that they mean,
/// such as Gemma's 1 + w.
AttentionWeights AttentionWeightsOf(const Block& block, const ModelConfig& config);

/// Returns what the statistics need from one forward pass through a layer.
AttentionActivations ActivationsOf(const AttentionRows& rows);

/// Puts the weights of `attention` into the block, in the block's dtype and on its device; the output bias is
/// unchanged. The reverse of AttentionWeightsOf.
void SetAttention(Block& block, const AttentionWeights& attention, const ModelConfig& config);

/// Replaces the block's attention by one with aligned heads, none of them merged. It computes the same function, or
/// with `principal` nearly the same where directions are dropped (principal.cc) or keys pass a norm (key_norm.h).
absl::Status AlignBlock(Block& block, const ModelConfig& source_config, int64_t layer, const LayerAlignment& alignment);

/// Replaces the block's attention by the merged one.
absl::Status MergeBlock(Block& block, const ModelConfig& source_config, int64_t layer, const LayerAlignment& alignment);

}  // namespace regroup
