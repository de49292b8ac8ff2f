// Runs blocks whose weights are in memory only while they are used, in the forward and in the backward pass.
//
// The backward pass borrows the weights again and hands their gradients to their owner instead of to autograd. Between
// the two passes either the block's inputs are kept, and the backward pass recomputes the block (recompute.h), or
// autograd's graph of the block, whose weights are put aside: their tensors stay, and their memory is released. The
// operations are the same as with weights that stay, so gradients have the same bits on CPU, unless weights are
// computed from others.
#pragma once

#include <vector>

#include "trainer/nn/transformer.h"

namespace regroup {

/// The pass for which a block is lent; layers are visited upwards in the forward pass and downwards in the backward
/// pass.
enum class Pass { kForward, kBackward };

struct LentBlock {
  Block block;
  /// The weights that train, of which `block` consists or is computed. They require gradients, in the forward pass too:
  /// PyTorch chooses its kernels by that.
  std::vector<at::Tensor> trained;
};

class BlockLender {
 public:
  virtual ~BlockLender() = default;

  /// Returns what the layer's weights depend on beside the trained ones, and what autograd may differentiate.
  virtual std::vector<at::Tensor> InputsOf(int64_t layer) const = 0;

  /// Returns the layer's weights for these values of its inputs. Only one block is lent at a time.
  virtual LentBlock Lend(int64_t layer, const std::vector<at::Tensor>& inputs, Pass pass) = 0;

  /// Takes the block back, after a backward pass with the gradients of LentBlock::trained, undefined where there is
  /// none.
  virtual void TakeBack(int64_t layer, std::vector<at::Tensor> gradients) = 0;

  /// Returns true if a block's weights can be put aside: if all of them are the lender's own.
  virtual bool CanPutAside() const { return false; }
  /// Takes the block back after a forward pass whose graph is kept: releases the memory of its weights.
  virtual void PutAside(int64_t layer);
  /// Gives those tensors memory and weights again, for the backward pass that TakeBack follows.
  virtual void Restore(int64_t layer);
};

/// Runs RunBlock with the lender's weights. The lender must outlive the backward pass. Observers and caches are not
/// supported. `keeps_graph`: between the passes autograd's graph is kept, where the lender can put weights aside.
at::Tensor RunLentBlock(const at::Tensor& x_BTD, BlockLender& lender, int64_t layer, const ModelConfig& config,
                        const BlockContext& context, bool keeps_graph = false);

}  // namespace regroup
