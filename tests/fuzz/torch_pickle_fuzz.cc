// Input: the pickle of an archive of torch.save, data.pkl.
#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tests/fuzz/require.h"
#include "trainer/checkpoint/torch_pickle.h"

namespace regroup {
namespace {

/// Requires that every element of the view lies within its storage, so that it can be read unchecked.
void CheckTensor(const PickledTensor& tensor) {
  REGROUP_REQUIRE(tensor.shape.size() == tensor.strides.size() && tensor.offset >= 0 && tensor.storage_bytes >= 0);
  // In 128 bits nothing overflows: there are at most 64 axes.
  __int128 last = tensor.offset;
  for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
    REGROUP_REQUIRE(tensor.shape[axis] >= 0 && tensor.strides[axis] >= 0);
    if (tensor.shape[axis] == 0) return;
    last += static_cast<__int128>(tensor.shape[axis] - 1) * tensor.strides[axis];
  }
  REGROUP_REQUIRE((last + 1) * SafetensorsDtypeBytes(tensor.dtype) <= tensor.storage_bytes);
}

}  // namespace
}  // namespace regroup

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensors = regroup::ReadTorchPickle({reinterpret_cast<const char*>(data), size}, "file");
  if (!tensors.ok()) return 0;
  for (const regroup::PickledTensor& tensor : *tensors) regroup::CheckTensor(tensor);
  REGROUP_REQUIRE(
      std::is_sorted(tensors->begin(), tensors->end(), [](const auto& a, const auto& b) { return a.name < b.name; }));
  return 0;
}
