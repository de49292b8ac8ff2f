// Tensors of which every rank keeps a slice only (ZeRO stage 3, Rajbhandari et al., 2020, arXiv 1910.02054).
//
// The entries of all tensors, one after the other, are padded so that all ranks' slices are equally long. Before the
// tensors are used, an all-gather of the slices restores them in memory that is released afterwards. One thread at a
// time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace regroup {

/// Returns the entries of a rank's slice of `entries` entries: slices are aligned for vector instructions.
int64_t EntriesOfSlice(int64_t entries, int ranks);

class SlicedTensors {
 public:
  /// Keeps this rank's slice of the slots' tensors, which have one dtype and device, and empties the slots. The slots
  /// must outlive it.
  SlicedTensors(std::vector<at::Tensor*> slots, int rank, int ranks);
  SlicedTensors(const SlicedTensors&) = delete;
  SlicedTensors& operator=(const SlicedTensors&) = delete;

  /// Returns memory for the slices of all ranks.
  at::Tensor MakeWhole() const;
  /// Makes the slots views of `whole`, the slices of all ranks in their order, which require gradients if so wanted.
  void Fill(const at::Tensor& whole, bool requires_grad);
  /// Makes each slot a tensor of the same shape that takes no memory. All of its entries are NaN, so that a computation
  /// with weights that were not fetched is noticed.
  void Empty();

  const std::vector<at::Tensor*>& slots() const { return slots_; }
  /// Entries without padding.
  int64_t entries() const { return entries_; }
  /// [EntriesOfSlice]; the padding is zero.
  const at::Tensor& slice() const { return slice_; }

  /// If `other` has the same slice, uses its memory from then on and returns true. What one of them then writes, both
  /// have.
  bool ShareWith(const SlicedTensors& other);

 private:
  std::vector<at::Tensor*> slots_;
  int ranks_;
  int64_t entries_ = 0;
  at::Tensor slice_;
  /// NaN; what empty slots are views of.
  at::Tensor nothing_;
};

}  // namespace regroup
