// A part of a parameter group: whole parameters, stored contiguously in flat buffers that are padded so that every rank
// owns an equal slice, and the optimizer state of this rank's slice. One thread at a time.
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
  /// Returns the gradients to be summed over ranks.
  at::Tensor& TotalGradients();

  /// Number of entries without padding, and the number of those in this rank's slice, which begins at entry `first`.
  int64_t entries() const { return entries_; }
  int64_t OwnEntries() const;
  int64_t first() const { return rank_ * shard_entries_; }

  const std::vector<at::Tensor*>& slots() const { return slots_; }
  /// All entries of the bucket, including padding.
  at::Tensor& parameters() { return parameters_; }
  at::Tensor ParameterShard() const;

  /// This rank's slice, including padding. `master` is float32; if the parameters are too, it is the slice itself.
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

/// Groups neighbouring parameters up to `bytes` in size; a larger parameter is alone in its bucket.
std::vector<std::vector<at::Tensor*>> CutIntoBuckets(const std::vector<at::Tensor*>& slots, int64_t bytes);

}  // namespace regroup
