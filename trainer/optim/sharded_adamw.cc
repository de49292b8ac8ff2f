#include "trainer/optim/sharded_adamw.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "services/base/status_macros.h"

namespace regroup {
namespace {

/// Keeps slices of all ranks aligned for vector instructions.
constexpr int64_t kAlignment = 64;

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

ShardedAdamW::ShardedAdamW(std::vector<ParameterGroup> groups, AdamWOptions options, Communicator& communicator)
    : options_(options), communicator_(communicator) {
  for (ParameterGroup& group : groups) {
    if (!group.parameters.empty()) groups_.push_back(MakeGroup(std::move(group)));
  }
}

ShardedAdamW::Group ShardedAdamW::MakeGroup(ParameterGroup spec) {
  Group group{.spec = std::move(spec)};
  for (const at::Tensor* parameter : group.spec.parameters) group.entries += parameter->numel();
  group.shard_entries = RoundUp((group.entries + communicator_.size() - 1) / communicator_.size(), kAlignment);
  const at::TensorOptions options = group.spec.parameters.front()->options().requires_grad(false);
  group.parameters = at::zeros({group.shard_entries * communicator_.size()}, options);
  group.gradients = at::zeros_like(group.parameters);
  int64_t offset = 0;
  for (at::Tensor* parameter : group.spec.parameters) {
    at::Tensor view = group.parameters.narrow(0, offset, parameter->numel()).view(parameter->sizes());
    view.copy_(parameter->detach());
    view.set_requires_grad(true);
    view.mutable_grad() = group.gradients.narrow(0, offset, parameter->numel()).view(parameter->sizes());
    offset += parameter->numel();
    *parameter = view;
  }
  const at::TensorOptions state = options.dtype(at::kFloat);
  const bool alias = group.parameters.scalar_type() == at::kFloat;
  group.gradient_shard = at::empty({group.shard_entries}, options);
  group.master = alias ? ParameterShard(group) : ParameterShard(group).to(at::kFloat);
  group.first_moment = at::zeros({group.shard_entries}, state);
  group.second_moment = at::zeros({group.shard_entries}, state);
  group.step = at::zeros({}, state);
  return group;
}

at::Tensor ShardedAdamW::ParameterShard(const Group& group) const {
  return group.parameters.narrow(0, communicator_.rank() * group.shard_entries, group.shard_entries);
}

int64_t ShardedAdamW::OwnEntries(const Group& group) const {
  return std::clamp<int64_t>(group.entries - communicator_.rank() * group.shard_entries, 0, group.shard_entries);
}

void ShardedAdamW::ZeroGradients() {
  for (Group& group : groups_) {
    group.gradients.zero_();
    if (group.gradient_sum.defined()) group.gradient_sum.zero_();
  }
}

void ShardedAdamW::AccumulateGradients() {
  at::NoGradGuard no_gradients;
  for (Group& group : groups_) {
    if (group.gradients.scalar_type() == at::kFloat) continue;
    if (!group.gradient_sum.defined()) {
      group.gradient_sum = at::zeros_like(group.gradients, group.gradients.options().dtype(at::kFloat));
      group.gradient_shard = group.gradient_shard.to(at::kFloat);
    }
    group.gradient_sum += group.gradients;
    group.gradients.zero_();
  }
}

at::Tensor& ShardedAdamW::TotalGradients(Group& group) {
  if (!group.gradient_sum.defined()) return group.gradients;
  group.gradient_sum += group.gradients;
  return group.gradient_sum;
}

absl::StatusOr<double> ShardedAdamW::ReduceGradients() {
  // Of the clipped groups, and of the others.
  at::Tensor squares = at::zeros({2}, groups_.front().master.options().dtype(at::kDouble));
  for (Group& group : groups_) {
    REGROUP_RETURN_IF_ERROR(communicator_.ReduceScatterSum(TotalGradients(group), group.gradient_shard));
    squares[group.spec.clipped ? 0 : 1] += group.gradient_shard.to(at::kFloat).norm().to(at::kDouble).square();
  }
  REGROUP_RETURN_IF_ERROR(communicator_.AllReduceSum(squares));
  // What is not clipped has no part in the norm, but must be finite too.
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
  at::Tensor gradient = group.gradient_shard.to(at::kFloat);
  if (gradient_scale != 1.0) gradient = gradient * gradient_scale;
  group.step += 1;
  std::vector<at::Tensor> master{group.master}, gradients{gradient}, first{group.first_moment},
      second{group.second_moment}, steps{group.step};
  at::_fused_adamw_(master, gradients, first, second, /*max_exp_avg_sqs=*/{}, steps, learning_rate, options_.beta1,
                    options_.beta2, group.spec.weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

absl::Status ShardedAdamW::SpreadParameters(Group& group) {
  at::NoGradGuard no_gradients;
  at::Tensor shard = ParameterShard(group);
  if (!shard.is_alias_of(group.master)) shard.copy_(group.master);
  return communicator_.AllGather(shard, group.parameters);
}

std::vector<std::pair<std::string, at::Tensor>> ShardedAdamW::ShardState() const {
  std::vector<std::pair<std::string, at::Tensor>> state;
  for (const Group& group : groups_) {
    const int64_t own = OwnEntries(group);
    state.emplace_back(group.spec.name + "/master", group.master.narrow(0, 0, own));
    state.emplace_back(group.spec.name + "/first_moment", group.first_moment.narrow(0, 0, own));
    state.emplace_back(group.spec.name + "/second_moment", group.second_moment.narrow(0, 0, own));
    state.emplace_back(group.spec.name + "/step", group.step);
  }
  return state;
}

absl::Status ShardedAdamW::LoadState(const std::string& name, const at::Tensor& master, const at::Tensor& first_moment,
                                     const at::Tensor& second_moment, const at::Tensor& step) {
  at::NoGradGuard no_gradients;
  for (Group& group : groups_) {
    if (group.spec.name != name) continue;
    const int64_t own = OwnEntries(group);
    const int64_t start = communicator_.rank() * group.shard_entries;
    for (const at::Tensor* full : {&master, &first_moment, &second_moment}) {
      if (full->numel() != group.entries) {
        return absl::DataLossError(
            fmt::format("state of '{}' has {} entries instead of {}", name, full->numel(), group.entries));
      }
    }
    if (own > 0) {
      group.master.narrow(0, 0, own).copy_(master.narrow(0, start, own));
      group.first_moment.narrow(0, 0, own).copy_(first_moment.narrow(0, start, own));
      group.second_moment.narrow(0, 0, own).copy_(second_moment.narrow(0, start, own));
    }
    group.step.copy_(step);
    return SpreadParameters(group);
  }
  return absl::NotFoundError(fmt::format("no parameter group '{}'", name));
}

int64_t ShardedAdamW::GroupSize(const std::string& name) const {
  for (const Group& group : groups_) {
    if (group.spec.name == name) return group.entries;
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
  for (const Group& group : groups_) {
    bytes += group.master.nbytes() + group.first_moment.nbytes() + group.second_moment.nbytes();
  }
  return bytes;
}

}  // namespace regroup
