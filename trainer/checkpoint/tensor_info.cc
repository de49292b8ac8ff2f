#include "trainer/checkpoint/tensor_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace regroup {
namespace {

struct DtypeCount {
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  int64_t elements = 0;
  int64_t tensors = 0;
};

/// Returns the dtype with most elements first; equal counts are in the order of the enum.
std::vector<DtypeCount> CountDtypes(const std::vector<TensorInfo>& tensors) {
  std::map<SafetensorsDtype, DtypeCount> by_dtype;
  for (const TensorInfo& tensor : tensors) {
    DtypeCount& count = by_dtype[tensor.dtype];
    count.dtype = tensor.dtype;
    count.elements += tensor.elements();
    ++count.tensors;
  }
  std::vector<DtypeCount> counts;
  for (const auto& [dtype, count] : by_dtype) counts.push_back(count);
  std::stable_sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.elements > b.elements; });
  return counts;
}

}  // namespace

int64_t TensorInfo::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

SafetensorsDtype MainDtype(const std::vector<TensorInfo>& tensors) {
  const std::vector<DtypeCount> counts = CountDtypes(tensors);
  return counts.empty() ? SafetensorsDtype::kF32 : counts.front().dtype;
}

std::string DtypeSummary(const std::vector<TensorInfo>& tensors) {
  std::string summary;
  for (const DtypeCount& count : CountDtypes(tensors)) {
    summary += fmt::format("{}{} ({} {})", summary.empty() ? "" : ", ", SafetensorsDtypeName(count.dtype),
                           count.tensors, count.tensors == 1 ? "tensor" : "tensors");
  }
  return summary;
}

}  // namespace regroup
