#include "trainer/optim/parameter_bucket.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace regroup {
namespace {

/// Aligns the slices of all ranks for vector instructions.
constexpr int64_t kAlignment = 64;

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

ParameterBucket::ParameterBucket(std::vector<at::Tensor*> slots, int rank, int ranks)
    : slots_(std::move(slots)), rank_(rank) {
  for (const at::Tensor* slot : slots_) entries_ += slot->numel();
  shard_entries_ = RoundUp((entries_ + ranks - 1) / ranks, kAlignment);
  const at::TensorOptions options = slots_.front()->options().requires_grad(false);
  parameters_ = at::zeros({shard_entries_ * ranks}, options);
  gradients_ = at::zeros_like(parameters_);
  int64_t offset = 0;
  for (at::Tensor* slot : slots_) {
    at::Tensor view = parameters_.narrow(0, offset, slot->numel()).view(slot->sizes());
    view.copy_(slot->detach());
    view.set_requires_grad(true);
    view.mutable_grad() = gradients_.narrow(0, offset, slot->numel()).view(slot->sizes());
    offset += slot->numel();
    *slot = view;
  }
  const at::TensorOptions state = options.dtype(at::kFloat);
  gradient_shard = at::empty({shard_entries_}, options);
  master = parameters_.scalar_type() == at::kFloat ? ParameterShard() : ParameterShard().to(at::kFloat);
  first_moment = at::zeros({shard_entries_}, state);
  second_moment = at::zeros({shard_entries_}, state);
}

void ParameterBucket::ZeroGradients() {
  gradients_.zero_();
  if (gradient_sum_.defined()) gradient_sum_.zero_();
}

void ParameterBucket::AccumulateGradients() {
  if (gradients_.scalar_type() == at::kFloat) return;
  if (!gradient_sum_.defined()) {
    gradient_sum_ = at::zeros_like(gradients_, gradients_.options().dtype(at::kFloat));
    gradient_shard = gradient_shard.to(at::kFloat);
  }
  gradient_sum_ += gradients_;
  gradients_.zero_();
}

at::Tensor& ParameterBucket::TotalGradients() {
  if (!gradient_sum_.defined()) return gradients_;
  gradient_sum_ += gradients_;
  return gradient_sum_;
}

int64_t ParameterBucket::OwnEntries() const { return std::clamp<int64_t>(entries_ - first(), 0, shard_entries_); }

at::Tensor ParameterBucket::ParameterShard() const { return parameters_.narrow(0, first(), shard_entries_); }

std::vector<std::vector<at::Tensor*>> CutIntoBuckets(const std::vector<at::Tensor*>& slots, int64_t bytes) {
  std::vector<std::vector<at::Tensor*>> buckets;
  int64_t filled = 0;
  for (at::Tensor* slot : slots) {
    const auto size = static_cast<int64_t>(slot->nbytes());
    if (buckets.empty() || filled + size > bytes) {
      buckets.emplace_back();
      filled = 0;
    }
    buckets.back().push_back(slot);
    filled += size;
  }
  return buckets;
}

}  // namespace regroup
