// A stretch of a parameter group: whole parameters side by side in flat buffers, padded so that every rank owns an
// equal slice, and the optimizer's state of this rank's slice. One thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace regroup {

class ParameterBucket {
 public:
  /// Moves the parameters into the bucket: each becomes a view of it that requires gradients.
  ParameterBucket(std::vector<at::Tensor*> slots, int rank, int ranks);

  void ZeroGradients();
  /// See ShardedAdamW::AccumulateGradients.
  void AccumulateGradients();
  /// What is to be summed over ranks.
  at::Tensor& TotalGradients();

  /// Entries without padding, and those of them in this rank's slice, which begins at entry `first`.
  int64_t entries() const { return entries_; }
  int64_t OwnEntries() const;
  int64_t first() const { return rank_ * shard_entries_; }

  const std::vector<at::Tensor*>& slots() const { return slots_; }
  /// All of the bucket, with padding.
  at::Tensor& parameters() { return parameters_; }
  at::Tensor ParameterShard() const;

  /// This rank's slice, with padding. `master` is float32; the slice itself where the parameters are.
  at::Tensor gradient_shard, master, first_moment, second_moment;

 private:
  std::vector<at::Tensor*> slots_;
  int64_t rank_;
  int64_t entries_ = 0;
  int64_t shard_entries_ = 0;
  at::Tensor parameters_;
  at::Tensor gradients_;
  /// Undefined before the first AccumulateGradients.
  at::Tensor gradient_sum_;
};

/// Neighbours together up to `bytes`; a larger parameter is alone.
std::vector<std::vector<at::Tensor*>> CutIntoBuckets(const std::vector<at::Tensor*>& slots, int64_t bytes);

}  // namespace regroup
