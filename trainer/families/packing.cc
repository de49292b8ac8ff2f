#include "trainer/families/packing.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace regroup {
namespace {

constexpr int kFusedParts = 3;

}  // namespace

int PartsOf(Packing packing) {
  return packing == Packing::kFusedByHead || packing == Packing::kFusedTransposed ? kFusedParts : 1;
}

std::vector<int64_t> PackedShape(Packing packing, std::vector<int64_t> shape) {
  shape.front() *= PartsOf(packing);
  const bool transposed = packing == Packing::kTransposed || packing == Packing::kFusedTransposed;
  if (transposed) std::reverse(shape.begin(), shape.end());
  return shape;
}

at::Tensor Unpack(const at::Tensor& stored, Packing packing, int part, int64_t heads) {
  switch (packing) {
    case Packing::kTransposed:
      return stored.t();
    case Packing::kFusedByHead:
      return stored.unflatten(0, {heads, kFusedParts, -1}).select(1, part).flatten(0, 1);
    case Packing::kFusedTransposed:
      return stored.chunk(kFusedParts, -1)[part].t();
    case Packing::kPlain:
      break;
  }
  return stored;
}

at::Tensor Pack(const std::vector<at::Tensor>& parts, Packing packing, int64_t heads) {
  switch (packing) {
    case Packing::kTransposed:
      return parts.front().t();
    case Packing::kFusedByHead: {
      std::vector<at::Tensor> by_head;
      for (const at::Tensor& part : parts) by_head.push_back(part.unflatten(0, {heads, -1}));
      return at::stack(by_head, 1).flatten(0, 2);
    }
    case Packing::kFusedTransposed:
      return at::cat(parts, 0).t();
    case Packing::kPlain:
      break;
  }
  return parts.front();
}

}  // namespace regroup
