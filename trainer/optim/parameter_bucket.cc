#include "trainer/optim/parameter_bucket.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Makes the allocator give the tensor's memory to no other until the current stream has read it.
void KeepForCurrentStream(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return;
  tensor.record_stream(c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(tensor.device()));
}

}  // namespace

ParameterBucket::ParameterBucket(std::vector<at::Tensor*> slots, KeptGradients kept, int rank, int ranks)
    : slots_(std::move(slots)), rank_(rank), ranks_(ranks) {
  for (const at::Tensor* slot : slots_) entries_ += slot->numel();
  shard_entries_ = EntriesOfSlice(entries_, ranks);
  const at::TensorOptions options = slots_.front()->options().requires_grad(false);
  parameters_ = at::zeros({shard_entries_ * ranks}, options);
  if (kept == KeptGradients::kAll) gradients_ = at::zeros_like(parameters_);
  int64_t offset = 0;
  for (at::Tensor* slot : slots_) {
    at::Tensor view = parameters_.narrow(0, offset, slot->numel()).view(slot->sizes());
    view.copy_(slot->detach());
    view.set_requires_grad(true);
    if (gradients_.defined()) {
      view.mutable_grad() = gradients_.narrow(0, offset, slot->numel()).view(slot->sizes());
    }
    offset += slot->numel();
    *slot = view;
  }
  MakeState(options);
}

ParameterBucket::ParameterBucket(SlicedTensors& sliced, int rank, int ranks)
    : slots_(sliced.slots()), sliced_(&sliced), rank_(rank), ranks_(ranks), entries_(sliced.entries()) {
  shard_entries_ = sliced.slice().numel();
  MakeState(sliced.slice().options());
}

void ParameterBucket::MakeState(const at::TensorOptions& options) {
  const at::TensorOptions state = options.dtype(at::kFloat);
  gradient_shard = gradients_.defined() ? at::empty({shard_entries_}, options) : at::zeros({shard_entries_}, state);
  master = ParameterShard().scalar_type() == at::kFloat ? ParameterShard() : ParameterShard().to(at::kFloat);
  first_moment = at::zeros({shard_entries_}, state);
  second_moment = at::zeros({shard_entries_}, state);
}

void ParameterBucket::ZeroGradients() {
  if (!gradients_.defined()) {
    TakeGradients();
    gradient_shard.zero_();
    return;
  }
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

std::vector<at::Tensor> ParameterBucket::TakeGradients() {
  std::vector<at::Tensor> gradients;
  if (gradients_.defined() || sliced_ != nullptr) return gradients;
  for (at::Tensor* slot : slots_) gradients.push_back(std::exchange(slot->mutable_grad(), at::Tensor()));
  return gradients;
}

absl::Status ParameterBucket::SumOverRanks(const std::vector<at::Tensor>& taken, Communicator& communicator) {
  if (!gradients_.defined()) return AddGradients(taken, communicator);
  return communicator.ReduceScatterSum(TotalGradients(), gradient_shard);
}

absl::Status ParameterBucket::AddGradients(const std::vector<at::Tensor>& gradients, Communicator& communicator) {
  at::Tensor all = at::zeros({shard_entries_ * ranks_}, gradient_shard.options());
  int64_t offset = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const at::Tensor& gradient = gradients[i];
    const int64_t entries = slots_[i]->numel();
    if (gradient.defined()) all.narrow(0, offset, entries).copy_(gradient.flatten());
    offset += entries;
    // Whoever hands over the gradients of sliced parameters keeps them until they are summed.
    if (sliced_ == nullptr) KeepForCurrentStream(gradient);
  }
  at::Tensor sum = at::empty_like(gradient_shard);
  REGROUP_RETURN_IF_ERROR(communicator.ReduceScatterSum(all, sum));
  gradient_shard += sum;
  return absl::OkStatus();
}

int64_t ParameterBucket::GradientBytes() const {
  int64_t bytes = 0;
  for (const at::Tensor* tensor : {&gradients_, &gradient_sum_, &gradient_shard}) {
    if (tensor->defined()) bytes += static_cast<int64_t>(tensor->nbytes());
  }
  return bytes;
}

int64_t ParameterBucket::OwnEntries() const { return std::clamp<int64_t>(entries_ - first(), 0, shard_entries_); }

at::Tensor ParameterBucket::ParameterShard() const {
  return sliced_ != nullptr ? sliced_->slice() : parameters_.narrow(0, first(), shard_entries_);
}

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
