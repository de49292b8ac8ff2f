#include "trainer/alignment/metric_root.h"

#include <ATen/ATen.h>

namespace regroup {

MetricRoot RootOfMetric(const at::Tensor& metric) {
  const auto [values, vectors] = at::linalg_eigh(0.5 * (metric + metric.transpose(1, 2)));
  const auto largest = std::get<0>(values.max(1, true));
  const auto floor = at::maximum(1e-6 * largest, 1e-12 * largest.max());
  auto floored = at::maximum(values, floor);
  if (!(largest.max().item<double>() > 0)) floored = at::ones_like(values);
  const auto roots = floored.sqrt().unsqueeze(1);
  const auto transposed = vectors.transpose(1, 2);
  return {(vectors * roots).bmm(transposed), (vectors / roots).bmm(transposed)};
}

at::Tensor WeightedGram(const at::Tensor& gram, const at::Tensor& roots) {
  const int64_t count = gram.size(0);
  const int64_t width = gram.size(1);
  const auto left = roots.bmm(gram.reshape({count, width, count * width})).view({count * width, count, width});
  const auto both = left.transpose(0, 1).bmm(roots).transpose(0, 1).reshape({count * width, count * width});
  return 0.5 * (both + both.t());
}

}  // namespace regroup
