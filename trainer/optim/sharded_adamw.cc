#include "trainer/optim/sharded_adamw.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Tells the launcher, if there is one, that a parameter has its gradient.
class GradientHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  GradientHook(std::weak_ptr<BucketLauncher> launcher, size_t bucket)
      : launcher_(std::move(launcher)), bucket_(bucket) {}
  void operator()(const at::Tensor&) override {
    if (const auto launcher = launcher_.lock()) launcher->NoteGradient(bucket_);
  }

 private:
  std::weak_ptr<BucketLauncher> launcher_;
  size_t bucket_;
};

int64_t EntriesOf(const std::vector<at::Tensor>& pieces) {
  int64_t entries = 0;
  for (const at::Tensor& piece : pieces) entries += piece.numel();
  return entries;
}

/// Fills `into` with the entries of the joined pieces from `begin` on.
void CopyEntries(const std::vector<at::Tensor>& pieces, int64_t begin, const at::Tensor& into) {
  int64_t start = 0, filled = 0;
  for (const at::Tensor& piece : pieces) {
    const int64_t from = std::max<int64_t>(0, begin + filled - start);
    const int64_t count = std::min(piece.numel() - from, into.numel() - filled);
    if (count > 0) {
      into.narrow(0, filled, count).copy_(piece.flatten().narrow(0, from, count));
      filled += count;
    }
    start += piece.numel();
  }
}

}  // namespace

ShardedAdamW::ShardedAdamW(std::vector<ParameterGroup> groups, AdamWOptions options, Communicator& communicator)
    : options_(options), communicator_(communicator) {
  for (ParameterGroup& group : groups) {
    if (!group.parameters.empty()) groups_.push_back(MakeGroup(std::move(group)));
  }
  in_order_ = BucketsByUse();
  const auto is_sliced = [](const ParameterBucket* bucket) { return bucket->sliced() != nullptr; };
  TORCH_CHECK(options_.shard_gradients || std::none_of(in_order_.begin(), in_order_.end(), is_sliced),
              "the gradients of sliced parameters must be sharded");
  std::vector<int64_t> gradients;
  for (ParameterBucket* bucket : in_order_) {
    if (is_sliced(bucket)) continue;
    whole_.push_back(bucket);
    gradients.push_back(static_cast<int64_t>(bucket->slots().size()));
  }
  // The parameters' gradients are taken here, so that they are released as soon as they have been summed.
  launcher_ = std::make_shared<BucketLauncher>(
      std::move(gradients), [this](size_t place) { Launch(*whole_[place], whole_[place]->TakeGradients()); });
  // Beside sliced parameters, sums during the backward pass would not have one order on all ranks.
  if (whole_.size() < in_order_.size()) return;
  for (size_t place = 0; place < whole_.size(); ++place) Watch(*whole_[place], place);
}

ShardedAdamW::Group ShardedAdamW::MakeGroup(ParameterGroup spec) {
  Group group{.spec = std::move(spec)};
  const int rank = communicator_.rank(), ranks = communicator_.size();
  const auto add_whole = [&](const std::vector<at::Tensor*>& parameters) {
    for (std::vector<at::Tensor*>& slots : CutIntoBuckets(parameters, options_.bucket_bytes)) {
      group.buckets.emplace_back(std::move(slots),
                                 options_.shard_gradients ? KeptGradients::kSlice : KeptGradients::kAll, rank, ranks);
    }
  };
  std::map<const at::Tensor*, SlicedTensors*> owners;
  for (SlicedTensors* sliced : group.spec.sliced) owners[sliced->slots().front()] = sliced;
  std::vector<at::Tensor*> whole;
  for (size_t i = 0; i < group.spec.parameters.size();) {
    const auto owner = owners.find(group.spec.parameters[i]);
    if (owner == owners.end()) {
      whole.push_back(group.spec.parameters[i++]);
      continue;
    }
    add_whole(std::exchange(whole, {}));
    group.buckets.emplace_back(*owner->second, rank, ranks);
    i += owner->second->slots().size();
  }
  add_whole(whole);
  group.step = at::zeros({}, group.buckets.front().first_moment.options());
  return group;
}

int64_t ShardedAdamW::Group::Entries() const {
  int64_t entries = 0;
  for (const ParameterBucket& bucket : buckets) entries += bucket.entries();
  return entries;
}

std::vector<ParameterBucket*> ShardedAdamW::BucketsByUse() {
  // The backward pass reaches a bucket's first parameter last. All groups are spread over the model roughly alike, so
  // that positions relative to their group are comparable.
  struct Candidate {
    bool comes_late;
    double place;
    ParameterBucket* bucket;
  };
  std::vector<Candidate> candidates;
  for (Group& group : groups_) {
    const auto all = static_cast<double>(group.Entries());
    int64_t before = 0;
    for (ParameterBucket& bucket : group.buckets) {
      candidates.push_back({group.spec.comes_late, static_cast<double>(before) / all, &bucket});
      before += bucket.entries();
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.comes_late != b.comes_late ? b.comes_late : a.place > b.place;
  });
  std::vector<ParameterBucket*> buckets;
  for (const Candidate& candidate : candidates) buckets.push_back(candidate.bucket);
  return buckets;
}

void ShardedAdamW::Watch(const ParameterBucket& bucket, size_t place) {
  for (const at::Tensor* slot : bucket.slots()) {
    torch::autograd::impl::set_post_acc_grad_hooks(*slot, std::make_unique<GradientHook>(launcher_, place));
  }
}

void ShardedAdamW::ZeroGradients() {
  for (ParameterBucket* bucket : in_order_) bucket->ZeroGradients();
}

SideLane& ShardedAdamW::lane() {
  if (lane_ == nullptr) {
    overlaps_ = options_.overlap && communicator_.size() > 1;
    lane_ = overlaps_ ? communicator_.MakeSideLane() : MakeInlineLane();
  }
  return *lane_;
}

void ShardedAdamW::BeginBackward(bool is_last) {
  const bool in_stage_1 = !options_.shard_gradients;
  if (in_stage_1 && (!is_last || !options_.overlap || communicator_.size() == 1)) return;
  launcher_->Arm();
}

void ShardedAdamW::AddGradients(std::vector<SlicedGradients> layer) {
  for (const SlicedGradients& part : layer) {
    const auto found = std::find_if(in_order_.begin(), in_order_.end(),
                                    [&](const ParameterBucket* bucket) { return bucket->sliced() == part.parameters; });
    TORCH_CHECK(found != in_order_.end(), "gradients of parameters that are not trained");
    Launch(**found, part.gradients);
  }
  handed_.emplace_back(lane().Mark(), std::move(layer));
  while (handed_.size() > 2) {
    lane().WaitFor(handed_.front().first);
    handed_.pop_front();
  }
}

absl::Status ShardedAdamW::AccumulateGradients() {
  if (options_.shard_gradients) return ReduceBuckets();
  at::NoGradGuard no_gradients;
  for (ParameterBucket* bucket : in_order_) bucket->AccumulateGradients();
  return absl::OkStatus();
}

void ShardedAdamW::Launch(ParameterBucket& bucket, std::vector<at::Tensor> taken) {
  lane().Launch([this, &bucket, taken = std::move(taken)] {
    const double before = communicator_.seconds();
    const absl::Status status = Reduce(bucket, taken);
    beside_seconds_ += communicator_.seconds() - before;
    return status;
  });
}

absl::Status ShardedAdamW::Reduce(ParameterBucket& bucket, const std::vector<at::Tensor>& taken) {
  at::NoGradGuard no_gradients;
  return bucket.SumOverRanks(taken, communicator_);
}

absl::Status ShardedAdamW::FinishOverlapped() {
  const auto start = std::chrono::steady_clock::now();
  const bool in_time = launcher_->LaunchRest();
  REGROUP_RETURN_IF_ERROR(lane().Finish());
  handed_.clear();
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  if (overlaps_) hidden_seconds_ += std::max(0.0, beside_seconds_ - waited.count());
  beside_seconds_ = 0;
  return in_time ? absl::OkStatus() : absl::InternalError("a gradient changed after it had been summed over ranks");
}

absl::Status ShardedAdamW::ReduceBuckets() {
  if (launcher_->armed()) return FinishOverlapped();
  for (ParameterBucket* bucket : whole_) REGROUP_RETURN_IF_ERROR(Reduce(*bucket, bucket->TakeGradients()));
  return absl::OkStatus();
}

absl::StatusOr<double> ShardedAdamW::ReduceGradients() {
  REGROUP_RETURN_IF_ERROR(ReduceBuckets());
  // Sums of squares of the clipped groups, and of the others.
  at::Tensor squares = at::zeros({2}, groups_.front().step.options().dtype(at::kDouble));
  for (const Group& group : groups_) {
    std::vector<at::Tensor> shards;
    for (const ParameterBucket& bucket : group.buckets) shards.push_back(bucket.gradient_shard);
    const at::Tensor norms = at::stack(at::_foreach_norm(shards, 2, at::kFloat)).to(at::kDouble);
    squares[group.spec.clipped ? 0 : 1] += norms.square().sum();
  }
  REGROUP_RETURN_IF_ERROR(communicator_.AllReduceSum(squares));
  // Groups that are not clipped do not contribute to the norm, but must be finite too.
  const double others = squares[1].item<double>();
  return std::isfinite(others) ? std::sqrt(squares[0].item<double>()) : others;
}

absl::StatusOr<double> ShardedAdamW::Step(double learning_rate) {
  REGROUP_ASSIGN_OR_RETURN(const double norm, ReduceGradients());
  if (!std::isfinite(norm)) return norm;
  const bool clip = options_.clip_norm > 0 && norm > options_.clip_norm;
  for (Group& group : groups_) {
    Update(group, learning_rate * group.spec.rate, clip && group.spec.clipped ? options_.clip_norm / norm : 1.0);
    REGROUP_RETURN_IF_ERROR(SpreadParameters(group));
  }
  return norm;
}

void ShardedAdamW::Update(Group& group, double learning_rate, double gradient_scale) {
  at::NoGradGuard no_gradients;
  group.step += 1;
  std::vector<at::Tensor> master, gradients, first, second;
  for (const ParameterBucket& bucket : group.buckets) {
    const at::Tensor gradient = bucket.gradient_shard.to(at::kFloat);
    gradients.push_back(gradient_scale == 1.0 ? gradient : gradient * gradient_scale);
    master.push_back(bucket.master);
    first.push_back(bucket.first_moment);
    second.push_back(bucket.second_moment);
  }
  const std::vector<at::Tensor> steps(master.size(), group.step);
  at::_fused_adamw_(master, gradients, first, second, /*max_exp_avg_sqs=*/{}, steps, learning_rate, options_.beta1,
                    options_.beta2, group.spec.weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

absl::Status ShardedAdamW::SpreadParameters(Group& group) {
  at::NoGradGuard no_gradients;
  for (ParameterBucket& bucket : group.buckets) {
    at::Tensor shard = bucket.ParameterShard();
    if (!shard.is_alias_of(bucket.master)) shard.copy_(bucket.master);
    if (bucket.sliced() != nullptr) continue;
    REGROUP_RETURN_IF_ERROR(communicator_.AllGather(shard, bucket.parameters()));
  }
  return absl::OkStatus();
}

std::vector<std::pair<std::string, at::Tensor>> ShardedAdamW::ShardState() const {
  std::vector<std::pair<std::string, at::Tensor>> state;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.buckets.size(); ++i) {
      const ParameterBucket& bucket = group.buckets[i];
      const auto add = [&](const char* name, const at::Tensor& tensor) {
        state.emplace_back(fmt::format("{}/{}/{}", group.spec.name, i, name), tensor.narrow(0, 0, bucket.OwnEntries()));
      };
      add("master", bucket.master);
      add("first_moment", bucket.first_moment);
      add("second_moment", bucket.second_moment);
    }
    state.emplace_back(group.spec.name + "/step", group.step);
  }
  return state;
}

std::vector<at::Tensor> ShardedAdamW::MasterWeights() const {
  TORCH_CHECK(communicator_.size() == 1, "the master weights are spread over ", communicator_.size(), " ranks");
  const at::NoGradGuard no_gradients;
  std::vector<at::Tensor> weights;
  for (const Group& group : groups_) {
    for (const ParameterBucket& bucket : group.buckets) {
      int64_t first = 0;
      for (const at::Tensor* slot : bucket.slots()) {
        weights.push_back(bucket.master.narrow(0, first, slot->numel()).view(slot->sizes()).clone());
        first += slot->numel();
      }
    }
  }
  return weights;
}

absl::Status ShardedAdamW::LoadState(const std::string& name, const GroupState& state) {
  at::NoGradGuard no_gradients;
  const auto found =
      std::find_if(groups_.begin(), groups_.end(), [&](const Group& group) { return group.spec.name == name; });
  if (found == groups_.end()) return absl::NotFoundError(fmt::format("parameter group '{}' does not exist", name));
  for (const auto* pieces : {&state.master, &state.first_moment, &state.second_moment}) {
    if (EntriesOf(*pieces) == found->Entries()) continue;
    return absl::DataLossError(
        fmt::format("state of '{}' has {} entries, but the group has {}", name, EntriesOf(*pieces), found->Entries()));
  }
  int64_t before = 0;
  for (ParameterBucket& bucket : found->buckets) {
    const int64_t own = bucket.OwnEntries();
    const auto take = [&](const std::vector<at::Tensor>& pieces, at::Tensor& shard) {
      if (own > 0) CopyEntries(pieces, before + bucket.first(), shard.narrow(0, 0, own));
    };
    take(state.master, bucket.master);
    take(state.first_moment, bucket.first_moment);
    take(state.second_moment, bucket.second_moment);
    before += bucket.entries();
  }
  found->step.copy_(state.step);
  return SpreadParameters(*found);
}

int64_t ShardedAdamW::GroupSize(const std::string& name) const {
  for (const Group& group : groups_) {
    if (group.spec.name == name) return group.Entries();
  }
  return 0;
}

std::vector<std::string> ShardedAdamW::GroupNames() const {
  std::vector<std::string> names;
  for (const Group& group : groups_) names.push_back(group.spec.name);
  return names;
}

int64_t ShardedAdamW::StateBytes() const {
  int64_t bytes = 0;
  for (const ParameterBucket* bucket : in_order_) {
    bytes += bucket->master.nbytes() + bucket->first_moment.nbytes() + bucket->second_moment.nbytes();
  }
  return bytes;
}

int64_t ShardedAdamW::GradientBytes() const {
  int64_t bytes = 0;
  for (const ParameterBucket* bucket : in_order_) bytes += bucket->GradientBytes();
  return bytes;
}

}  // namespace regroup
