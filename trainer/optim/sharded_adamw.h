// AdamW with its state sharded over the ranks (ZeRO stage 1, Rajbhandari et al., 2020).
//
// The parameters of a group live in one flat buffer, and so do their gradients. After the backward pass a
// reduce-scatter gives each rank the summed gradients of its slice; the rank updates float32 master weights and
// moments of that slice alone, and an all-gather spreads the new weights. One thread may use it.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct ParameterGroup {
  std::string name;
  /// Replaced by views of the flat buffer that require gradients. The slots must outlive the optimizer.
  std::vector<at::Tensor*> parameters;
  /// Learning rate of the group relative to the step's.
  double rate = 1.0;
  double weight_decay = 0.0;
  /// Whether the group counts for, and is scaled by, the clipping of the global gradient norm.
  bool clipped = true;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  /// Largest global gradient norm; 0 does not clip.
  double clip_norm = 1.0;
};

class ShardedAdamW {
 public:
  /// Takes over the parameters' storage. `communicator` must outlive it.
  ShardedAdamW(std::vector<ParameterGroup> groups, AdamWOptions options, Communicator& communicator);

  void ZeroGradients();

  /// Adds the gradients of a micro-batch that is not the step's last to float32 sums, where the parameters are of less
  /// precision: otherwise autograd's own sums are exact enough, and nothing happens. The sums are one more float32 copy
  /// of the gradients and are reduced in their place.
  void AccumulateGradients();

  /// Sums the gradients over ranks, clips and updates. Returns the gradient norm of the clipped groups before clipping.
  /// Where a gradient of any group is not finite nothing is updated and the returned norm is not finite.
  absl::StatusOr<double> Step(double learning_rate);

  /// This rank's state by name, for a checkpoint: "<group>/master", "<group>/first_moment", "<group>/second_moment"
  /// (float32, without padding) and "<group>/step". Live tensors, not copies.
  std::vector<std::pair<std::string, at::Tensor>> ShardState() const;

  /// Takes the full (unsharded) state of a group and keeps this rank's slice; then spreads the weights.
  absl::Status LoadState(const std::string& group, const at::Tensor& master, const at::Tensor& first_moment,
                         const at::Tensor& second_moment, const at::Tensor& step);

  /// Entries of a group without padding.
  int64_t GroupSize(const std::string& group) const;
  std::vector<std::string> GroupNames() const;

  /// Bytes of master weights and moments on this rank.
  int64_t StateBytes() const;

 private:
  struct Group {
    ParameterGroup spec;
    int64_t entries = 0;
    int64_t shard_entries = 0;
    at::Tensor parameters;
    at::Tensor gradients;
    at::Tensor gradient_shard;
    /// Undefined before the first AccumulateGradients.
    at::Tensor gradient_sum;
    at::Tensor master;
    at::Tensor first_moment;
    at::Tensor second_moment;
    at::Tensor step;
  };

  Group MakeGroup(ParameterGroup spec);
  /// Entries of this rank's shard that are not padding.
  int64_t OwnEntries(const Group& group) const;
  at::Tensor ParameterShard(const Group& group) const;
  /// What is to be summed over ranks.
  static at::Tensor& TotalGradients(Group& group);
  absl::StatusOr<double> ReduceGradients();
  void Update(Group& group, double learning_rate, double gradient_scale);
  absl::Status SpreadParameters(Group& group);

  AdamWOptions options_;
  Communicator& communicator_;
  std::vector<Group> groups_;
};

}  // namespace regroup
