// Implements activation checkpointing (Chen et al., 2016): a part of the forward pass keeps only its inputs, and its
// backward pass runs it again to recompute the rest. The operations and inputs are the same, so gradients have the same
// bits on CPU.
//
// A part must be a pure function of its arguments: no random numbers, no state.
#pragma once

#include "trainer/nn/transformer.h"

namespace regroup {

/// Runs RunFeedForward and keeps only x.
at::Tensor RunFeedForwardRecomputed(const at::Tensor& x_BTD, const FeedForward& weights, const ModelConfig& config);

/// Runs RunBlock and keeps only the block's input and the encoder's output. An observer is called only in the forward
/// pass; a cache is not supported.
at::Tensor RunBlockRecomputed(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config,
                              const BlockContext& context);

}  // namespace regroup
