#include "trainer/families/packing.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace regroup {

std::vector<int64_t> PackedShape(Packing packing, const PartShapes& parts) {
  std::vector<int64_t> shape = parts.front();
  for (size_t part = 1; part < parts.size(); ++part) shape.front() += parts[part].front();
  if (packing == Packing::kRow) shape.insert(shape.begin(), 1);
  const bool transposed = packing == Packing::kTransposed || packing == Packing::kFusedTransposed;
  if (transposed) std::reverse(shape.begin(), shape.end());
  return shape;
}

at::Tensor Unpack(const at::Tensor& stored, Packing packing, const PartShapes& parts, int part, int64_t heads) {
  const auto count = static_cast<int64_t>(parts.size());
  switch (packing) {
    case Packing::kTransposed:
      return stored.t();
    case Packing::kFusedByHead:
      return stored.unflatten(0, {heads, count, -1}).select(1, part).flatten(0, 1);
    case Packing::kFusedTransposed:
      return stored.chunk(count, -1)[part].t();
    case Packing::kFusedRows:
    case Packing::kStackedRows: {
      int64_t first = 0;
      for (int before = 0; before < part; ++before) first += parts[before].front();
      return stored.narrow(0, first, parts[part].front());
    }
    case Packing::kRow:
      return stored.select(0, 0);
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
    case Packing::kFusedRows:
    case Packing::kStackedRows:
      return at::cat(parts, 0);
    case Packing::kRow:
      return parts.front().unsqueeze(0);
    case Packing::kPlain:
      break;
  }
  return parts.front();
}

}  // namespace regroup
