#include "trainer/alignment/named_tensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace regroup {
namespace {

bool Fits(at::IntArrayRef sizes, at::IntArrayRef expected) {
  if (sizes.size() != expected.size()) return false;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (expected[i] >= 0 && sizes[i] != expected[i]) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<at::Tensor> TakeTensor(const TensorMap& tensors, std::string_view name, at::IntArrayRef expected) {
  const auto found = tensors.find(std::string(name));
  if (found == tensors.end() || !found->second.defined()) {
    return absl::InvalidArgumentError(fmt::format("tensor {} is missing", name));
  }
  if (Fits(found->second.sizes(), expected)) return found->second;
  return absl::InvalidArgumentError(fmt::format("tensor {} has shape [{}], expected [{}]", name,
                                                fmt::join(found->second.sizes(), ", "), fmt::join(expected, ", ")));
}

}  // namespace regroup
