#include "trainer/nn/rotary.h"

#include <ATen/ATen.h>

#include "trainer/nn/fused_operators.h"

namespace regroup {

RotaryTable MakeRotaryTable(const RotaryConfig& config, int64_t positions, at::Device device, at::ScalarType dtype) {
  if (config.width == 0) return {};
  const at::Tensor frequencies = at::tensor(config.FrequenciesOf(positions), at::kDouble);
  const at::Tensor angles = at::outer(at::arange(positions, at::kDouble), frequencies);
  // Rounded to float32 first, as Transformers does.
  const auto rounded = [&](const at::Tensor& values) {
    return (values * config.magnitude).to(at::kFloat).to(device, dtype);
  };
  return {rounded(angles.cos()), rounded(angles.sin()), config.interleaved};
}

at::Tensor ApplyRotary(const at::Tensor& x, const RotaryTable& table) {
  if (!table.cosine.defined()) return x;
  const auto rows = [&](const at::Tensor& values) { return values.narrow(0, 0, x.size(-2)).to(x.scalar_type()); };
  return RotatePairs(x, {rows(table.cosine), rows(table.sine), table.interleaved});
}

}  // namespace regroup
