#include "trainer/nn/fused_operators.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "services/common/base/processor_targets.h"

namespace regroup {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A bfloat16 number, which c10's own type does not let the compiler vectorise.
struct Brain {
  uint16_t bits;
};

REGROUP_INLINE float Widened(float value) { return value; }
REGROUP_INLINE float Widened(Brain value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

template <typename T>
REGROUP_INLINE T Rounded(float value);
template <>
REGROUP_INLINE float Rounded<float>(float value) {
  return value;
}
/// Rounds to the nearest, and to the even of two.
template <>
REGROUP_INLINE Brain Rounded<Brain>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return {static_cast<uint16_t>(value != value ? 0x7fc0 : nearest)};
}

bool HasOwnKernel(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

template <typename T>
const T* Data(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <typename T>
T* MutableData(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Norm -------------------------------------------------------------------------------------------------------------

/// Rows whose gradients of the weight are summed together.
constexpr int64_t kRowsOfASum = 64;

template <typename T>
REGROUP_INLINE void NormaliseRow(const T* x, const T* weight, int64_t width, float epsilon, T* y, float& scale) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < width; ++i) squares += Widened(x[i]) * Widened(x[i]);
  const float factor = 1.0F / std::sqrt(squares / static_cast<float>(width) + epsilon);
  scale = factor;
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) {
    y[i] = Rounded<T>(Widened(Rounded<T>(Widened(x[i]) * factor)) * Widened(weight[i]));
  }
}

/// With n = x s and c = mean(g w n): dx = s (g w - n c), and dw = g n, which is added to `weight_sum`.
template <typename T>
REGROUP_INLINE void NormaliseRowBackward(const T* gradient, const T* x, const T* weight, float scale, int64_t width,
                                         T* x_gradient, float* weight_sum) {
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t i = 0; i < width; ++i) along += Widened(gradient[i]) * Widened(weight[i]) * Widened(x[i]);
  const float share = along * scale * scale / static_cast<float>(width);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) {
    const float g = Widened(gradient[i]), entry = Widened(x[i]);
    x_gradient[i] = Rounded<T>(scale * (g * Widened(weight[i]) - entry * share));
    weight_sum[i] += g * entry * scale;
  }
}

template <typename T>
REGROUP_INLINE void NormaliseEach(const T* x, const T* weight, int64_t rows, int64_t width, float epsilon, T* y,
                                  float* scale) {
  for (int64_t row = 0; row < rows; ++row) {
    NormaliseRow(x + row * width, weight, width, epsilon, y + row * width, scale[row]);
  }
}

template <typename T>
REGROUP_INLINE void NormaliseEachBackward(const T* gradient, const T* x, const T* weight, const float* scale,
                                          int64_t rows, int64_t width, T* x_gradient, float* weight_sum) {
  for (int64_t row = 0; row < rows; ++row) {
    NormaliseRowBackward(gradient + row * width, x + row * width, weight, scale[row], width, x_gradient + row * width,
                         weight_sum);
  }
}

REGROUP_FOR_EACH_PROCESSOR
void NormaliseRows(const float* x, const float* weight, int64_t rows, int64_t width, float epsilon, float* y,
                   float* scale) {
  NormaliseEach(x, weight, rows, width, epsilon, y, scale);
}

REGROUP_FOR_EACH_PROCESSOR
void NormaliseRows(const Brain* x, const Brain* weight, int64_t rows, int64_t width, float epsilon, Brain* y,
                   float* scale) {
  NormaliseEach(x, weight, rows, width, epsilon, y, scale);
}

REGROUP_FOR_EACH_PROCESSOR
void NormaliseRowsBackward(const float* gradient, const float* x, const float* weight, const float* scale, int64_t rows,
                           int64_t width, float* x_gradient, float* weight_sum) {
  NormaliseEachBackward(gradient, x, weight, scale, rows, width, x_gradient, weight_sum);
}

REGROUP_FOR_EACH_PROCESSOR
void NormaliseRowsBackward(const Brain* gradient, const Brain* x, const Brain* weight, const float* scale, int64_t rows,
                           int64_t width, Brain* x_gradient, float* weight_sum) {
  NormaliseEachBackward(gradient, x, weight, scale, rows, width, x_gradient, weight_sum);
}

template <typename T>
void Normalise(const at::Tensor& x, const at::Tensor& weight, double epsilon, const at::Tensor& y,
               const at::Tensor& scale) {
  const int64_t width = x.size(-1), rows = scale.numel();
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    NormaliseRows(Data<T>(x) + begin * width, Data<T>(weight), end - begin, width, static_cast<float>(epsilon),
                  MutableData<T>(y) + begin * width, MutableData<float>(scale) + begin);
  });
}

/// Returns the gradient of the weight.
template <typename T>
at::Tensor NormaliseBackward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& scale, const at::Tensor& x_gradient) {
  const int64_t width = x.size(-1), rows = scale.numel(), sums = (rows + kRowsOfASum - 1) / kRowsOfASum;
  const at::Tensor parts = at::zeros({sums, width}, scale.options());
  at::parallel_for(0, sums, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = part * kRowsOfASum, count = std::min(kRowsOfASum, rows - first);
      NormaliseRowsBackward(Data<T>(gradient) + first * width, Data<T>(x) + first * width, Data<T>(weight),
                            Data<float>(scale) + first, count, width, MutableData<T>(x_gradient) + first * width,
                            MutableData<float>(parts) + part * width);
    }
  });
  return parts.sum(0).to(weight.scalar_type());
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given, const at::Tensor& weight,
                            double epsilon) {
    const at::Tensor x = given.contiguous();
    at::Tensor y = at::empty_like(x);
    const at::Tensor scale = at::empty({x.numel() / x.size(-1)}, x.options().dtype(at::kFloat));
    const auto run = x.scalar_type() == at::kFloat ? Normalise<float> : Normalise<Brain>;
    run(x, weight, epsilon, y, scale);
    context->save_for_backward({x, weight, scale});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gradient = outputs[0].contiguous();
    at::Tensor x_gradient = at::empty_like(saved[0]);
    const auto run = gradient.scalar_type() == at::kFloat ? NormaliseBackward<float> : NormaliseBackward<Brain>;
    at::Tensor weight_gradient = run(gradient, saved[0], saved[1], saved[2], x_gradient);
    return {x_gradient, weight_gradient, at::Tensor()};
  }
};

// Rotation ---------------------------------------------------------------------------------------------------------

/// The heads at one position, of which each has its entries side by side.
struct HeadRows {
  int64_t heads = 0;
  int64_t width = 0;
  int64_t pairs = 0;
  /// Entries from one head to the next.
  int64_t from_stride = 0, to_stride = 0;
  bool interleaved = false;
  /// 1, or -1 to turn back.
  float sign = 1;
};

/// Entry i of a pair stands at i * step, its partner `apart` behind.
template <typename T>
REGROUP_INLINE void RotateRow(const T* x, const T* cosine, const T* sine, float sign, int64_t pairs, int64_t step,
                              int64_t apart, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < pairs; ++i) {
    const float c = Widened(cosine[i]), s = sign * Widened(sine[i]);
    const float a = Widened(x[i * step]), b = Widened(x[i * step + apart]);
    y[i * step] = Rounded<T>(a * c - b * s);
    y[i * step + apart] = Rounded<T>(b * c + a * s);
  }
}

template <typename T>
REGROUP_INLINE void RotateEach(const T* x, const T* cosine, const T* sine, const HeadRows& rows, T* y) {
  for (int64_t head = 0; head < rows.heads; ++head, x += rows.from_stride, y += rows.to_stride) {
    if (rows.interleaved) {
      RotateRow(x, cosine, sine, rows.sign, rows.pairs, 2, 1, y);
    } else {
      RotateRow(x, cosine, sine, rows.sign, rows.pairs, 1, rows.pairs, y);
    }
    for (int64_t i = 2 * rows.pairs; i < rows.width; ++i) y[i] = x[i];
  }
}

REGROUP_FOR_EACH_PROCESSOR
void RotateHeads(const float* x, const float* cosine, const float* sine, const HeadRows& rows, float* y) {
  RotateEach(x, cosine, sine, rows, y);
}

REGROUP_FOR_EACH_PROCESSOR
void RotateHeads(const Brain* x, const Brain* cosine, const Brain* sine, const HeadRows& rows, Brain* y) {
  RotateEach(x, cosine, sine, rows, y);
}

template <typename T>
void Rotate(const at::Tensor& x, const RotaryTable& table, float sign, const at::Tensor& y) {
  const int64_t tokens = x.size(2), pairs = table.cosine.size(1);
  const HeadRows rows{.heads = x.size(1),
                      .width = x.size(3),
                      .pairs = pairs,
                      .from_stride = x.stride(1),
                      .to_stride = y.stride(1),
                      .interleaved = table.interleaved,
                      .sign = sign};
  at::parallel_for(0, x.size(0) * tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t sequence = item / tokens, token = item % tokens;
      RotateHeads(Data<T>(x) + sequence * x.stride(0) + token * x.stride(2), Data<T>(table.cosine) + token * pairs,
                  Data<T>(table.sine) + token * pairs, rows,
                  MutableData<T>(y) + sequence * y.stride(0) + token * y.stride(2));
    }
  });
}

/// Does the same with PyTorch's operators.
at::Tensor RotateByOperators(const at::Tensor& x, const RotaryTable& rows, double sign) {
  const int64_t pairs = rows.cosine.size(1);
  at::Tensor y = x.clone();
  const auto part = [&](const at::Tensor& tensor, int64_t second) {
    const at::Tensor rotating = tensor.narrow(-1, 0, 2 * pairs);
    return rows.interleaved ? rotating.unflatten(-1, {-1, 2}).select(-1, second)
                            : rotating.narrow(-1, second * pairs, pairs);
  };
  at::Tensor first = part(y, 0), second = part(y, 1);
  first.mul_(rows.cosine).addcmul_(part(x, 1), rows.sine, -sign);
  second.mul_(rows.cosine).addcmul_(part(x, 0), rows.sine, sign);
  return y;
}

at::Tensor Rotated(const at::Tensor& given, const RotaryTable& rows, int sign) {
  if (!HasOwnKernel(given)) return RotateByOperators(given, rows, sign);
  const at::Tensor x = given.stride(-1) == 1 ? given : given.contiguous();
  at::Tensor y = at::empty_like(x);
  const auto run = x.scalar_type() == at::kFloat ? Rotate<float> : Rotate<Brain>;
  run(x, {rows.cosine.contiguous(), rows.sine.contiguous(), rows.interleaved}, static_cast<float>(sign), y);
  return y;
}

class RotateFunction : public torch::autograd::Function<RotateFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine, bool interleaved) {
    context->save_for_backward({cosine, sine});
    context->saved_data["interleaved"] = interleaved;
    return Rotated(x, {cosine, sine, interleaved}, 1);
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const variable_list saved = context->get_saved_variables();
    const RotaryTable rows{saved[0], saved[1], context->saved_data["interleaved"].toBool()};
    return {Rotated(outputs[0], rows, -1), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (HasOwnKernel(x) && weight.scalar_type() == x.scalar_type())
    return RmsNormFunction::apply(x, weight.contiguous(), epsilon);
  return std::get<0>(at::_fused_rms_norm(x, {x.size(-1)}, weight, epsilon));
}

at::Tensor RotatePairs(const at::Tensor& x, const RotaryTable& rows) {
  return RotateFunction::apply(x, rows.cosine, rows.sine, rows.interleaved);
}

}  // namespace regroup
