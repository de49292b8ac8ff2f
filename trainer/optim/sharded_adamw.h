// AdamW with its state, and on request its gradients and parameters, sharded over the ranks (ZeRO stages 1 to 3,
// Rajbhandari et al., 2020, arXiv 1910.02054).
//
// The parameters of a group are stored in flat buckets. A reduce-scatter of each bucket gives each rank the summed
// gradients of its slice; the rank updates float32 master weights and moments of that slice only, and an all-gather
// distributes the new weights. Buckets are reduced after the backward pass, or during it as soon as their gradients are
// ready: both make the same sums in the same order, hence the same bits.
//
// In stage 1 gradients stay on every rank until the step's last micro-batch. In stage 2 each micro-batch's are summed
// over ranks in float32 and released bucket by bucket, at the price of one reduce-scatter of 4 bytes an entry for every
// micro-batch. In stage 3 some parameters are sliced themselves: whoever restores them for a pass hands their gradients
// over, which are summed at once, and the others' after the backward pass. One thread may use it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/optim/bucket_launcher.h"
#include "trainer/optim/parameter_bucket.h"
#include "trainer/parallel/bucket_bytes.h"
#include "trainer/parallel/communicator.h"
#include "trainer/parallel/side_lane.h"

namespace regroup {

struct ParameterGroup {
  std::string name;
  /// In the order in which the forward pass uses them. They are replaced by views of flat buffers that require
  /// gradients. The slots must outlive the optimizer.
  std::vector<at::Tensor*> parameters;
  /// The owners of those parameters that are sliced (stage 3), which must outlive the optimizer too.
  std::vector<SlicedTensors*> sliced;
  /// Learning rate of the group relative to the step's.
  double rate = 1.0;
  double weight_decay = 0.0;
  /// If true, the group contributes to the global gradient norm and is scaled when it is clipped.
  bool clipped = true;
  /// Gradients do not arrive in every step, so they are reduced last, where nothing waits for them.
  bool comes_late = false;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  /// Maximum global gradient norm; 0 does not clip.
  double clip_norm = 1.0;
  /// Size of the buckets of parameters that are reduced together.
  int64_t bucket_bytes = kBucketBytes;
  /// Stage 2. Needed if there are sliced parameters.
  bool shard_gradients = false;
  /// Sums over ranks run beside the backward pass.
  bool overlap = true;
};

/// The full (unsharded) state of a group: of each kind the pieces that, one after the other, are its entries. Pieces
/// may be memory-mapped; a rank reads its own slice only.
struct GroupState {
  std::vector<at::Tensor> master, first_moment, second_moment;
  at::Tensor step;
};

class ShardedAdamW {
 public:
  /// Takes over the parameters' storage. `communicator` must outlive it.
  ShardedAdamW(std::vector<ParameterGroup> groups, AdamWOptions options, Communicator& communicator);
  ShardedAdamW(const ShardedAdamW&) = delete;
  ShardedAdamW& operator=(const ShardedAdamW&) = delete;

  void ZeroGradients();

  /// Must be called before the backward pass of each micro-batch. Gradients are summed over ranks during that pass: of
  /// the step's last one with `overlap` in stage 1, of each in stage 2. Until AccumulateGradients or Step returns,
  /// nothing else may then use the communicator.
  void BeginBackward(bool is_last);

  /// Gradients of sliced parameters: one for each of their slots, undefined where there is none.
  struct SlicedGradients {
    const SlicedTensors* parameters = nullptr;
    std::vector<at::Tensor> gradients;
  };
  /// Starts to sum the gradients of a layer's sliced parameters over ranks. Every rank must call it in the same order,
  /// between BeginBackward and AccumulateGradients or Step. The gradients of at most two calls are in memory.
  void AddGradients(std::vector<SlicedGradients> layer);

  /// Returns the lane on which gradients are summed. With sliced parameters, all calls of the communicator between
  /// BeginBackward and AccumulateGradients or Step must be launched there.
  SideLane& lane();
  /// Returns true if the lane runs beside the caller; call lane() first.
  bool overlaps() const { return overlaps_; }

  /// Must be called after the backward pass of a micro-batch that is not the step's last.
  ///
  /// In stage 1, adds the gradients to float32 sums if the parameters have less precision than float32; otherwise
  /// autograd's own sums are exact enough, and nothing happens. The sums are one more float32 copy of the gradients and
  /// are reduced in their place. In stage 2, waits for the sums over ranks.
  absl::Status AccumulateGradients();

  /// Sums the gradients over ranks, clips and updates. Returns the gradient norm of the clipped groups before clipping.
  /// If a gradient of any group is not finite, nothing is updated and the returned norm is not finite. INTERNAL if
  /// there was more than one backward pass since BeginBackward.
  absl::StatusOr<double> Step(double learning_rate);

  /// Returns this rank's state by name, for a checkpoint: "<group>/<bucket>/master", ".../first_moment",
  /// ".../second_moment" (float32, without padding) and "<group>/step". The ranks' pieces of all buckets, bucket by
  /// bucket, form the full state. The tensors are live, not copies.
  std::vector<std::pair<std::string, at::Tensor>> ShardState() const;

  /// Returns copies of the float32 master weights of all parameters, in the order of the groups, with the parameters'
  /// shapes. Of a single rank only, because another one has but its slice.
  std::vector<at::Tensor> MasterWeights() const;

  /// Keeps this rank's slice of the state, and then distributes the weights.
  absl::Status LoadState(const std::string& group, const GroupState& state);

  /// Returns the number of entries of a group without padding.
  int64_t GroupSize(const std::string& group) const;
  std::vector<std::string> GroupNames() const;

  /// Returns the bytes of master weights and moments on this rank.
  int64_t StateBytes() const;

  /// Returns the bytes of gradients that this rank keeps between backward passes.
  int64_t GradientBytes() const;

  /// Returns the part of Communicator::seconds() that overlapped with computation.
  double hidden_seconds() const { return hidden_seconds_; }

 private:
  struct Group {
    ParameterGroup spec;
    std::vector<ParameterBucket> buckets;
    at::Tensor step;

    int64_t Entries() const;
  };

  Group MakeGroup(ParameterGroup spec);
  /// Returns all buckets in the order in which they are reduced.
  std::vector<ParameterBucket*> BucketsByUse();
  void Watch(const ParameterBucket& bucket, size_t place);
  /// Starts the sum over ranks of a bucket on the lane. In stage 2 its gradients are `taken` from the parameters.
  void Launch(ParameterBucket& bucket, std::vector<at::Tensor> taken);
  /// Sums the bucket's gradients over ranks. In stage 2 they are `taken` from the parameters.
  absl::Status Reduce(ParameterBucket& bucket, const std::vector<at::Tensor>& taken);
  absl::Status ReduceBuckets();
  absl::Status FinishOverlapped();
  absl::StatusOr<double> ReduceGradients();
  void Update(Group& group, double learning_rate, double gradient_scale);
  absl::Status SpreadParameters(Group& group);

  AdamWOptions options_;
  Communicator& communicator_;
  std::vector<Group> groups_;
  /// Pointers to the buckets in groups_, last used first, and those of them whose parameters are whole.
  std::vector<ParameterBucket*> in_order_, whole_;
  std::shared_ptr<BucketLauncher> launcher_;
  /// Arguments of the last calls of AddGradients, with the lane's marks behind their sums. They are released once the
  /// computing stream has waited for these: a GPU's allocator then uses the memory again at once.
  std::deque<std::pair<int64_t, std::vector<SlicedGradients>>> handed_;
  /// Created on first use, with `overlaps_` if it runs beside the backward pass.
  std::unique_ptr<SideLane> lane_;
  bool overlaps_ = false;
  double hidden_seconds_ = 0;
  /// Seconds of the step's calls on the lane.
  double beside_seconds_ = 0;
};

}  // namespace regroup
