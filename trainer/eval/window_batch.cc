#include "trainer/eval/window_batch.h"

#include <ATen/ATen.h>

namespace regroup {

at::Tensor WindowBatch(const TokenWindows& windows, const std::vector<int64_t>& indices, at::Device device) {
  at::Tensor batch = at::empty({static_cast<int64_t>(indices.size()), windows.sequence_length()}, at::kLong);
  int64_t* row = batch.mutable_data_ptr<int64_t>();
  for (const int64_t index : indices) {
    windows.Copy(index, row);
    row += windows.sequence_length();
  }
  return batch.to(device);
}

at::Tensor DocumentsOfWindows(const TokenWindows& windows, const std::vector<int64_t>& indices, at::Device device) {
  std::vector<at::Tensor> rows;
  for (const int64_t index : indices) rows.push_back(at::tensor(windows.Documents(index), at::kLong));
  return at::stack(rows).to(device);
}

}  // namespace regroup
