#include "trainer/alignment/nuclear_norm.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "services/common/base/processor_targets.h"

namespace regroup {
namespace {

constexpr int kRowsAtOnce = 4;
/// The squared norm below which a row counts as zero, in a matrix whose trace is one. It is far below rounding, and its
/// squared inverse is still far from overflow.
constexpr double kNothing = 1e-60;

REGROUP_INLINE DoubleLanes& LanesAt(double* entries) { return *reinterpret_cast<DoubleLanes*>(entries); }

/// The reflection H = 1 - factor v v^T, which maps a row to (beside, 0, 0, ...).
struct Reflection {
  double* v;
  double factor;
  double beside;
};

/// Returns the reflection of row[first] ... row[size - 1]; `v` is zero before `first`.
REGROUP_INLINE Reflection Reflect(const double* row, int64_t first, int64_t size, double* v) {
  double squares = 0;
  for (int64_t j = first; j < size; ++j) squares += row[j] * row[j];
  std::fill(v, v + first, 0.0);
  std::copy(row + first, row + size, v + first);
  if (squares < kNothing) return {v, 0, 0};
  const double beside = row[first] > 0 ? -std::sqrt(squares) : std::sqrt(squares);
  v[first] -= beside;
  return {v, 1 / (squares - row[first] * beside), beside};
}

/// The update by the previous reflection that all other rows still need: A -= v w^T + w v^T.
struct Pending {
  double* v;
  double* w;
};

/// Applies the pending update to `Count` rows from `row` on, in columns [begin, size), and multiplies them by `next`.
template <int Count>
REGROUP_INLINE void UpdateAndMultiply(double* matrix, int64_t row, int64_t begin, int64_t size, const Pending& pending,
                                      double* next, double* products) {
  DoubleLanes sums[Count] = {};
  double* const rows = matrix + row * size;
  for (int64_t j = begin; j < size; j += kDoubleLanes) {
    const DoubleLanes v = LanesAt(pending.v + j), w = LanesAt(pending.w + j), x = LanesAt(next + j);
    for (int r = 0; r < Count; ++r) {
      DoubleLanes& entries = LanesAt(rows + r * size + j);
      entries -= pending.v[row + r] * w + pending.w[row + r] * v;
      sums[r] += entries * x;
    }
  }
  for (int r = 0; r < Count; ++r) {
    double sum = 0;
    for (int lane = 0; lane < kDoubleLanes; ++lane) sum += sums[r][lane];
    products[row + r] = sum;
  }
}

/// Reduces the symmetric `matrix` [size, size], which is overwritten, to `diagonal` [size] and `beside` [size - 1].
/// `size` is a multiple of kDoubleLanes.
REGROUP_FOR_EACH_PROCESSOR void Tridiagonalise(double* matrix, int64_t size, double* diagonal, double* beside) {
  std::vector<double> buffers(4 * size, 0.0);
  Pending pending{buffers.data(), buffers.data() + size};
  double* next = buffers.data() + 2 * size;
  double* const products = buffers.data() + 3 * size;
  for (int64_t k = 0; k < size; ++k) {
    const auto begin = [](int64_t column) { return column / kDoubleLanes * kDoubleLanes; };
    UpdateAndMultiply<1>(matrix, k, begin(k), size, pending, next, products);
    diagonal[k] = matrix[k * size + k];
    if (k + 1 == size) return;
    const Reflection reflection = Reflect(matrix + k * size, k + 1, size, next);
    beside[k] = reflection.beside;
    int64_t row = k + 1;
    for (; row + kRowsAtOnce <= size; row += kRowsAtOnce) {
      UpdateAndMultiply<kRowsAtOnce>(matrix, row, begin(k + 1), size, pending, next, products);
    }
    for (; row < size; ++row) UpdateAndMultiply<1>(matrix, row, begin(k + 1), size, pending, next, products);
    // H A H = A - v w^T - w v^T with p = factor A v, w = p - (factor p^T v / 2) v
    double common = 0;
    for (int64_t j = k + 1; j < size; ++j) common += products[j] * next[j];
    common *= 0.5 * reflection.factor * reflection.factor;
    std::fill(pending.w, pending.w + k + 1, 0.0);
    for (int64_t j = k + 1; j < size; ++j) pending.w[j] = reflection.factor * products[j] - common * next[j];
    std::swap(pending.v, next);
  }
}

/// Returns Wilkinson's shift of a QL step, from its two uppermost rows.
double Shift(double first, double second, double square) {
  const double root = std::sqrt(square);
  const double half = (second - first) / (2 * root);
  return first - root / (half + std::copysign(std::sqrt(half * half + 1), half));
}

/// Makes one QL step on rows [first, last] of a tridiagonal matrix; `squares` are those of the entries beside its
/// diagonal.
void StepOfQl(std::vector<double>& diagonal, std::vector<double>& squares, size_t first, size_t last) {
  const double shift = Shift(diagonal[first], diagonal[first + 1], squares[first]);
  double cosine = 1, sine = 0;  // both squared
  double gamma = diagonal[last] - shift;
  double p = gamma * gamma;
  for (size_t i = last; i-- > first;) {
    const double square = squares[i];
    const double r = p + square;
    if (i + 1 != last) squares[i + 1] = sine * r;
    const double old_cosine = cosine, old_gamma = gamma;
    cosine = p / r;
    sine = square / r;
    gamma = cosine * (diagonal[i] - shift) - sine * old_gamma;
    diagonal[i + 1] = old_gamma + (diagonal[i] - gamma);
    p = cosine != 0 ? gamma * gamma / cosine : old_cosine * square;
  }
  squares[first] = sine * p;
  diagonal[first] = shift + gamma;
}

/// Replaces `diagonal` by the eigenvalues.
void Diagonalise(std::vector<double>& diagonal, std::vector<double>& squares) {
  constexpr double kRounding = std::numeric_limits<double>::epsilon() / 2;
  size_t steps_left = 30 * diagonal.size();
  for (size_t first = 0; first < diagonal.size();) {
    size_t last = first;
    while (last + 1 < diagonal.size() &&
           squares[last] > kRounding * kRounding * std::abs(diagonal[last] * diagonal[last + 1])) {
      ++last;
    }
    if (last + 1 < diagonal.size()) squares[last] = 0;
    if (last == first) {
      ++first;
    } else if (steps_left-- > 0) {
      StepOfQl(diagonal, squares, first, last);
    } else {
      throw std::runtime_error("the eigenvalues of a similarity between two heads did not converge");
    }
  }
}

}  // namespace

double NuclearNorm(const at::Tensor& matrix) {
  const bool wide = matrix.size(0) < matrix.size(1);
  auto gram = wide ? matrix.mm(matrix.t()) : matrix.t().mm(matrix);
  const double trace = gram.trace().item<double>();
  if (trace == 0) return 0;
  if (!std::isfinite(trace)) return std::numeric_limits<double>::quiet_NaN();
  gram.div_(trace);
  const int64_t missing = (kDoubleLanes - gram.size(0) % kDoubleLanes) % kDoubleLanes;
  if (missing > 0) gram = at::constant_pad_nd(gram, {0, missing, 0, missing});
  std::vector<double> diagonal(gram.size(0)), beside(gram.size(0) - 1);
  Tridiagonalise(gram.mutable_data_ptr<double>(), gram.size(0), diagonal.data(), beside.data());
  // QL converges best with the large entries at the bottom; reflections leave them at the top.
  std::reverse(diagonal.begin(), diagonal.end());
  std::reverse(beside.begin(), beside.end());
  for (double& entry : beside) entry *= entry;
  Diagonalise(diagonal, beside);
  double sum = 0;
  for (const double eigenvalue : diagonal) sum += std::sqrt(std::max(eigenvalue, 0.0));
  return sum * std::sqrt(trace);
}

}  // namespace regroup
