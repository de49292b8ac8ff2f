#include "trainer/parallel/sliced_tensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace regroup {
namespace {

constexpr int64_t kAlignment = 64;

/// Copies the entries of the joined tensors from `begin` on into `slice`, as far as there are any.
void CopySlice(const std::vector<at::Tensor*>& tensors, int64_t begin, const at::Tensor& slice) {
  int64_t start = 0;
  for (const at::Tensor* tensor : tensors) {
    const int64_t from = std::max(begin, start), to = std::min(begin + slice.numel(), start + tensor->numel());
    if (from < to) {
      slice.narrow(0, from - begin, to - from).copy_(tensor->detach().flatten().narrow(0, from - start, to - from));
    }
    start += tensor->numel();
  }
}

}  // namespace

int64_t EntriesOfSlice(int64_t entries, int ranks) {
  const int64_t share = (entries + ranks - 1) / ranks;
  return (share + kAlignment - 1) / kAlignment * kAlignment;
}

SlicedTensors::SlicedTensors(std::vector<at::Tensor*> slots, int rank, int ranks)
    : slots_(std::move(slots)), ranks_(ranks) {
  for (const at::Tensor* slot : slots_) entries_ += slot->numel();
  const int64_t share = EntriesOfSlice(entries_, ranks);
  slice_ = at::zeros({share}, slots_.front()->options().requires_grad(false));
  CopySlice(slots_, rank * share, slice_);
  nothing_ = at::full({}, std::numeric_limits<double>::quiet_NaN(), slice_.options());
  Empty();
}

at::Tensor SlicedTensors::MakeWhole() const { return at::empty({slice_.numel() * ranks_}, slice_.options()); }

void SlicedTensors::Fill(const at::Tensor& whole, bool requires_grad) {
  int64_t start = 0;
  for (at::Tensor* slot : slots_) {
    const int64_t count = slot->numel();
    *slot = whole.narrow(0, start, count).view(slot->sizes()).detach().set_requires_grad(requires_grad);
    start += count;
  }
}

void SlicedTensors::Empty() {
  for (at::Tensor* slot : slots_) *slot = nothing_.expand(slot->sizes());
}

bool SlicedTensors::ShareWith(const SlicedTensors& other) {
  if (entries_ != other.entries_ || !at::equal(slice_, other.slice_)) return false;
  slice_ = other.slice_;
  return true;
}

}  // namespace regroup
