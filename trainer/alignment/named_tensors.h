// Named tensors are the form in which statistics and alignments go to a file. Plain values.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
using TensorMap = std::map<std::string, at::Tensor>;

/// Returns the tensor with this name, or INVALID_ARGUMENT if it is missing or does not have the expected sizes; -1
/// accepts any size.
absl::StatusOr<at::Tensor> TakeTensor(const TensorMap& tensors, std::string_view name, at::IntArrayRef expected);

}  // namespace regroup
