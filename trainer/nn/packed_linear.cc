#include "trainer/nn/packed_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "services/common/base/processor_targets.h"

namespace regroup {
namespace {

constexpr int64_t kMostRows = 16;
/// Number of rows whose sums are kept in registers at the same time.
constexpr int kRowsAtOnce = 8;
constexpr int kVectors = 2;
constexpr int64_t kPanel = kVectors * kLanes;
/// Prefetch distance in floats: one page.
constexpr int64_t kAhead = 1024;
/// Minimum number of entries for which starting a thread pays off.
constexpr int64_t kLeastEntries = 16384;

struct Rows {
  /// [in, rows]: the entries of one input are adjacent.
  const float* x;
  int64_t inputs;
  /// [rows, outputs]
  float* y;
  int64_t outputs;
};

/// Computes columns [first, first + 32) of y, or as many as there are.
template <int Count>
REGROUP_INLINE void MultiplyPanel(const Rows& rows, const float* panel, int64_t first) {
  Lanes sums[Count][kVectors] = {};
  const float* x = rows.x;
  for (int64_t input = 0; input < rows.inputs; ++input, panel += kPanel, x += Count) {
    Lanes weights[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = *reinterpret_cast<const Lanes*>(panel + v * kLanes);
      // Prefetching addresses beyond the end is harmless.
      __builtin_prefetch(panel + v * kLanes + kAhead, 0, 3);
    }
    for (int r = 0; r < Count; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] += x[r] * weights[v];
    }
  }
  const int64_t columns = std::min(kPanel, rows.outputs - first);
  for (int r = 0; r < Count; ++r) {
    const float* const from = reinterpret_cast<const float*>(sums[r]);
    std::copy(from, from + columns, rows.y + r * rows.outputs + first);
  }
}

template <int Count>
REGROUP_INLINE void MultiplyPanels(const Rows& rows, const float* panels, int64_t begin, int64_t end) {
  for (int64_t panel = begin; panel < end; ++panel) {
    MultiplyPanel<Count>(rows, panels + panel * rows.inputs * kPanel, panel * kPanel);
  }
}

REGROUP_FOR_EACH_PROCESSOR
void MultiplyAnyRows(const Rows& rows, int64_t count, const float* panels, int64_t begin, int64_t end) {
  switch (count) {
    case 1:
      return MultiplyPanels<1>(rows, panels, begin, end);
    case 2:
      return MultiplyPanels<2>(rows, panels, begin, end);
    case 3:
      return MultiplyPanels<3>(rows, panels, begin, end);
    case 4:
      return MultiplyPanels<4>(rows, panels, begin, end);
    case 5:
      return MultiplyPanels<5>(rows, panels, begin, end);
    case 6:
      return MultiplyPanels<6>(rows, panels, begin, end);
    case 7:
      return MultiplyPanels<7>(rows, panels, begin, end);
    default:
      return MultiplyPanels<kRowsAtOnce>(rows, panels, begin, end);
  }
}

/// Multiplies at most kRowsAtOnce rows of x [rows, in] and stores the result in those of y [rows, out].
void MultiplyRows(const at::Tensor& x, const PackedWeight& weight, at::Tensor y) {
  const at::Tensor turned = x.t().contiguous();
  const Rows rows{turned.const_data_ptr<float>(), x.size(1), y.mutable_data_ptr<float>(), weight.outputs};
  const float* const panels = weight.panels.const_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kLeastEntries / (kPanel * rows.inputs));
  at::parallel_for(0, weight.panels.size(0), grain,
                   [&](int64_t begin, int64_t end) { MultiplyAnyRows(rows, x.size(0), panels, begin, end); });
}

}  // namespace

bool CanPack(const at::Tensor& weight) {
  return weight.dim() == 2 && weight.is_cpu() && weight.scalar_type() == at::kFloat;
}

PackedWeight PackWeight(const at::Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const int64_t padding = (kPanel - outputs % kPanel) % kPanel;
  const at::Tensor padded = padding == 0 ? weight : at::constant_pad_nd(weight, {0, 0, 0, padding});
  return {padded.view({-1, kPanel, weight.size(1)}).transpose(1, 2).contiguous(), outputs};
}

at::Tensor UnpackWeight(const PackedWeight& weight) {
  return weight.panels.transpose(1, 2).flatten(0, 1).narrow(0, 0, weight.outputs);
}

at::Tensor LinearOfPacked(const at::Tensor& x, const PackedWeight& weight) {
  const at::Tensor rows = x.reshape({-1, x.size(-1)});
  if (rows.size(0) > kMostRows) return at::linear(x, UnpackWeight(weight));
  at::Tensor y = at::empty({rows.size(0), weight.outputs}, x.options());
  for (int64_t first = 0; first < rows.size(0); first += kRowsAtOnce) {
    const int64_t count = std::min<int64_t>(kRowsAtOnce, rows.size(0) - first);
    MultiplyRows(rows.narrow(0, first, count), weight, y.narrow(0, first, count));
  }
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.outputs;
  return y.view(shape);
}

}  // namespace regroup
