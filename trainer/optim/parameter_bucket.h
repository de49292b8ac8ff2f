// A part of a parameter group: whole parameters, stored contiguously in flat buffers that are padded so that every rank
// owns an equal slice, and the optimizer state of this rank's slice. Gradients are either flat too, for the whole
// bucket (ZeRO stage 1), or summed over ranks after each backward pass, of which only the slice is kept (stage 2). In
// stage 3 only a slice of the parameters is kept as well. One thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "trainer/parallel/communicator.h"
#include "trainer/parallel/sliced_tensors.h"

namespace regroup {

/// The part of a bucket's gradients that a rank keeps between backward passes.
enum class KeptGradients { kAll, kSlice };

class ParameterBucket {
 public:
  /// Moves the parameters into the bucket: each becomes a view of it that requires gradients.
  ParameterBucket(std::vector<at::Tensor*> slots, KeptGradients kept, int rank, int ranks);

  /// Trains the slice of tensors that are not whole in between, with kSlice. Their slice is the bucket's from then on.
  ParameterBucket(SlicedTensors& sliced, int rank, int ranks);

  void ZeroGradients();

  /// With kAll: see ShardedAdamW::AccumulateGradients.
  void AccumulateGradients();

  /// With kSlice: takes the gradients of a backward pass from the parameters, undefined where there is none; autograd
  /// gives them new ones in the next pass. With kAll gradients stay in the bucket, and nothing is returned.
  std::vector<at::Tensor> TakeGradients();
  /// Sums gradients over ranks into gradient_shard: with kAll those in the bucket, with kSlice those `taken`, in
  /// float32, beside what the slice has already. On a GPU the current stream may be another than that of the backward
  /// pass.
  absl::Status SumOverRanks(const std::vector<at::Tensor>& taken, Communicator& communicator);

  /// Returns the bytes of gradients that the bucket keeps between backward passes.
  int64_t GradientBytes() const;

  /// Number of entries without padding, and the number of those in this rank's slice, which begins at entry `first`.
  int64_t entries() const { return entries_; }
  int64_t OwnEntries() const;
  int64_t first() const { return rank_ * shard_entries_; }

  const std::vector<at::Tensor*>& slots() const { return slots_; }
  /// Returns null for a bucket of whole parameters.
  const SlicedTensors* sliced() const { return sliced_; }
  /// All entries of the bucket, including padding; undefined if they are sliced.
  at::Tensor& parameters() { return parameters_; }
  at::Tensor ParameterShard() const;

  /// This rank's slice, including padding. `master` is float32; if the parameters are too, it is the slice itself. With
  /// kSlice, `gradient_shard` is float32.
  at::Tensor gradient_shard, master, first_moment, second_moment;

 private:
  void MakeState(const at::TensorOptions& options);
  /// With kAll: returns the gradients of all micro-batches.
  at::Tensor& TotalGradients();
  /// With kSlice: adds this rank's slice of the sum of such gradients.
  absl::Status AddGradients(const std::vector<at::Tensor>& gradients, Communicator& communicator);

  std::vector<at::Tensor*> slots_;
  SlicedTensors* sliced_ = nullptr;
  int64_t rank_, ranks_;
  int64_t entries_ = 0;
  int64_t shard_entries_ = 0;
  at::Tensor parameters_;
  /// Undefined with kSlice.
  at::Tensor gradients_;
  /// Undefined before the first AccumulateGradients.
  at::Tensor gradient_sum_;
};

/// Groups neighbouring parameters up to `bytes` in size; a larger parameter is alone in its bucket.
std::vector<std::vector<at::Tensor*>> CutIntoBuckets(const std::vector<at::Tensor*>& slots, int64_t bytes);

}  // namespace regroup
