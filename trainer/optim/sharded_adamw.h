// AdamW with its state sharded over the ranks (ZeRO stage 1, Rajbhandari et al., 2020).
//
// The parameters of a group live in flat buckets, and so do their gradients. A reduce-scatter of each bucket gives each
// rank the summed gradients of its slice; the rank updates float32 master weights and moments of that slice alone, and
// an all-gather spreads the new weights. Buckets are reduced after the backward pass, or beside it as soon as their
// gradients are there: the same sums in the same order, hence the same bits. One thread may use it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/optim/bucket_launcher.h"
#include "trainer/optim/parameter_bucket.h"
#include "trainer/parallel/communicator.h"
#include "trainer/parallel/side_lane.h"

namespace regroup {

struct ParameterGroup {
  std::string name;
  /// In order of use by the forward pass. Replaced by views of flat buffers that require gradients. The slots must
  /// outlive the optimizer.
  std::vector<at::Tensor*> parameters;
  /// Learning rate of the group relative to the step's.
  double rate = 1.0;
  double weight_decay = 0.0;
  /// Whether the group counts for, and is scaled by, the clipping of the global gradient norm.
  bool clipped = true;
  /// Gradients do not come in every step: they are reduced last, where nothing waits for them.
  bool comes_late = false;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  /// Largest global gradient norm; 0 does not clip.
  double clip_norm = 1.0;
  /// Parameters that are reduced together.
  int64_t bucket_bytes = int64_t{25} << 20;
};

class ShardedAdamW {
 public:
  /// Takes over the parameters' storage. `communicator` must outlive it.
  ShardedAdamW(std::vector<ParameterGroup> groups, AdamWOptions options, Communicator& communicator);
  ShardedAdamW(const ShardedAdamW&) = delete;
  ShardedAdamW& operator=(const ShardedAdamW&) = delete;

  void ZeroGradients();

  /// Adds the gradients of a micro-batch that is not the step's last to float32 sums, where the parameters are of less
  /// precision: otherwise autograd's own sums are exact enough, and nothing happens. The sums are one more float32 copy
  /// of the gradients and are reduced in their place.
  void AccumulateGradients();

  /// The next backward pass is the step's last one, and the only one before Step: gradients are summed over ranks while
  /// it goes on. Until Step returns nobody else may use the communicator.
  void OverlapNextBackward();

  /// Sums the gradients over ranks, clips and updates. Returns the gradient norm of the clipped groups before clipping.
  /// Where a gradient of any group is not finite nothing is updated and the returned norm is not finite. INTERNAL if
  /// there was more than one backward pass since OverlapNextBackward.
  absl::StatusOr<double> Step(double learning_rate);

  /// This rank's state by name, for a checkpoint: "<group>/<bucket>/master", ".../first_moment", ".../second_moment"
  /// (float32, without padding) and "<group>/step". The ranks' pieces of all buckets, bucket by bucket, make the full
  /// state. Live tensors, not copies.
  std::vector<std::pair<std::string, at::Tensor>> ShardState() const;

  /// Takes the full (unsharded) state of a group and keeps this rank's slice; then spreads the weights.
  absl::Status LoadState(const std::string& group, const at::Tensor& master, const at::Tensor& first_moment,
                         const at::Tensor& second_moment, const at::Tensor& step);

  /// Entries of a group without padding.
  int64_t GroupSize(const std::string& group) const;
  std::vector<std::string> GroupNames() const;

  /// Bytes of master weights and moments on this rank.
  int64_t StateBytes() const;

  /// Seconds of Communicator::seconds() for which nobody waited.
  double hidden_seconds() const { return hidden_seconds_; }

 private:
  struct Group {
    ParameterGroup spec;
    std::vector<ParameterBucket> buckets;
    at::Tensor step;

    int64_t Entries() const;
  };

  Group MakeGroup(ParameterGroup spec);
  /// All buckets in the order in which they are reduced.
  std::vector<ParameterBucket*> BucketsByUse();
  void Watch(const ParameterBucket& bucket, size_t place);
  absl::Status Reduce(ParameterBucket& bucket);
  /// The same on the lane.
  absl::Status ReduceBeside(ParameterBucket& bucket);
  absl::Status ReduceBuckets();
  absl::Status FinishOverlapped();
  absl::StatusOr<double> ReduceGradients();
  void Update(Group& group, double learning_rate, double gradient_scale);
  absl::Status SpreadParameters(Group& group);

  AdamWOptions options_;
  Communicator& communicator_;
  std::vector<Group> groups_;
  /// Those that lie in groups_, last used first.
  std::vector<ParameterBucket*> in_order_;
  std::shared_ptr<BucketLauncher> launcher_;
  /// Made when it is first needed.
  std::unique_ptr<SideLane> lane_;
  double hidden_seconds_ = 0;
  /// Of the step's calls on the lane.
  double beside_seconds_ = 0;
};

}  // namespace regroup
