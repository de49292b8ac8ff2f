// Converts windows of tokens to a tensor that a model reads.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "trainer/data/token_windows.h"

namespace regroup {

/// Returns [indices, sequence_length], int64.
at::Tensor WindowBatch(const TokenWindows& windows, const std::vector<int64_t>& indices, at::Device device);

/// Returns WindowOptions::documents of the same windows.
at::Tensor DocumentsOfWindows(const TokenWindows& windows, const std::vector<int64_t>& indices, at::Device device);

}  // namespace regroup
