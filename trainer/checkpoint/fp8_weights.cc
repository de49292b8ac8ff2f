#include "trainer/checkpoint/fp8_weights.h"

namespace regroup {

at::Tensor DequantiseFp8(const at::Tensor& weight, const at::Tensor& scale, at::ScalarType target) {
  at::NoGradGuard no_gradients;
  const at::Tensor values = weight.to(at::kFloat);
  if (!scale.defined()) return values.to(target);
  constexpr double kExponentOfOne = 127;
  const at::Tensor factors =
      scale.scalar_type() == at::kByte ? (scale.to(at::kFloat) - kExponentOfOne).exp2() : scale.to(at::kFloat);
  if (factors.numel() == 1) return (values * factors.reshape({})).to(target);
  const int64_t rows = factors.size(0), columns = factors.size(1);
  const at::Tensor blocks = values.reshape({rows, weight.size(0) / rows, columns, weight.size(1) / columns});
  return (blocks * factors.reshape({rows, 1, columns, 1})).to(target).reshape(weight.sizes());
}

}  // namespace regroup
