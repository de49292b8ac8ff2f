#include "trainer/nn/rotary.h"

#include <ATen/ATen.h>

namespace regroup {
namespace {

at::Tensor RotateHalves(const at::Tensor& x, const RotaryTable& table) {
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * table.cosine - halves[1] * table.sine, halves[1] * table.cosine + halves[0] * table.sine},
                 -1);
}

at::Tensor RotateInterleaved(const at::Tensor& x, const RotaryTable& table) {
  const at::Tensor pairs = x.unflatten(-1, {-1, 2});
  const at::Tensor even = pairs.select(-1, 0);
  const at::Tensor odd = pairs.select(-1, 1);
  return at::stack({even * table.cosine - odd * table.sine, odd * table.cosine + even * table.sine}, -1).flatten(-2);
}

}  // namespace

RotaryTable MakeRotaryTable(const RotaryConfig& config, int64_t positions, at::Device device) {
  const at::Tensor frequencies = at::tensor(config.inverse_frequencies, at::kDouble);
  const at::Tensor angles = at::outer(at::arange(positions, at::kDouble), frequencies);
  return {(angles.cos() * config.magnitude).to(device, at::kFloat),
          (angles.sin() * config.magnitude).to(device, at::kFloat)};
}

at::Tensor ApplyRotary(const at::Tensor& x, const RotaryConfig& config, const RotaryTable& table) {
  if (config.width == 0) return x;
  const int64_t tokens = x.size(-2);
  const RotaryTable rows{table.cosine.narrow(0, 0, tokens).to(x.scalar_type()),
                         table.sine.narrow(0, 0, tokens).to(x.scalar_type())};
  const at::Tensor rotating = x.narrow(-1, 0, config.width);
  const at::Tensor turned = config.interleaved ? RotateInterleaved(rotating, rows) : RotateHalves(rotating, rows);
  if (config.width == x.size(-1)) return turned;
  return at::cat({turned, x.narrow(-1, config.width, x.size(-1) - config.width)}, -1);
}

}  // namespace regroup
