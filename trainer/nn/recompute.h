// Activation checkpointing (Chen et al., 2016): a part of the forward pass keeps its inputs alone, and its backward
// pass runs it again to have the rest. The same operations on the same inputs: gradients have the same bits on CPU.
//
// A part must be a function of what it is given here: no random numbers, no state.
#pragma once

#include "trainer/nn/transformer.h"

namespace regroup {

/// RunFeedForward, of which only x is kept.
at::Tensor RunFeedForwardRecomputed(const at::Tensor& x_BTD, const FeedForward& weights, Activation activation);

/// RunBlock, of which only the block's input and the encoder's output are kept. An observer is called in the forward
/// pass alone; a cache is not possible.
at::Tensor RunBlockRecomputed(const at::Tensor& x_BTD, const Block& block, const ModelConfig& config,
                              const BlockContext& context);

}  // namespace regroup
