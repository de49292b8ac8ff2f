// Named tensors, the form in which statistics and alignments go to a file.
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

/// The tensor with this name. INVALID_ARGUMENT if it is missing or has not the expected size; -1 takes any.
absl::StatusOr<at::Tensor> TakeTensor(const TensorMap& tensors, std::string_view name, at::IntArrayRef expected);

}  // namespace regroup
