#include "trainer/alignment/nuclear_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace regroup {
namespace {

// Allows for rounding: digits of the sum, and a singular value of 1e-8 of the largest for each.
void ExpectLikeSingularValues(const at::Tensor& matrix) {
  const at::Tensor values = at::linalg_svdvals(matrix);
  const double sum = values.sum().item<double>(), largest = values.max().item<double>();
  const double lost = values.lt(1e-5 * largest).sum().item<double>() * 2e-8 * largest;
  EXPECT_NEAR(NuclearNorm(matrix), sum, 1e-11 * sum + lost) << matrix.sizes();
}

at::Tensor WithSingularValues(const at::Tensor& values) {
  const int64_t n = values.size(0);
  const auto rotation = [&] { return std::get<0>(at::linalg_qr(at::randn({n, n}, at::kDouble))); };
  return (rotation() * values).mm(rotation());
}

TEST(NuclearNorm, EqualsTheSumOfSingularValues) {
  at::manual_seed(1);
  for (const int64_t n : {1, 2, 3, 5, 7, 8, 9, 16, 17, 64, 100, 128, 130}) {
    ExpectLikeSingularValues(at::randn({n, n}, at::kDouble));
    ExpectLikeSingularValues(at::randn({2 * n, n}, at::kDouble));
    ExpectLikeSingularValues(at::randn({n + 3, 2 * n + 1}, at::kDouble));
  }
}

TEST(NuclearNorm, TakesEverySpectrum) {
  at::manual_seed(2);
  const at::Tensor falling = at::logspace(0, -12, 40, 10.0, at::kDouble);
  ExpectLikeSingularValues(WithSingularValues(falling));
  ExpectLikeSingularValues(at::diag(falling));
  ExpectLikeSingularValues(at::diag(falling.flip(0)));
  ExpectLikeSingularValues(WithSingularValues(at::ones({33}, at::kDouble)));
  ExpectLikeSingularValues(at::eye(16, at::kDouble));
  for (const int64_t n : {24, 64, 100, 128}) {
    ExpectLikeSingularValues(at::ones({n, n}, at::kDouble));
    for (const int64_t rank : {1, 2, 4}) {
      const auto signs = [&](at::IntArrayRef sizes) { return at::randn(sizes, at::kDouble).sign(); };
      ExpectLikeSingularValues(signs({n, rank}).mm(signs({rank, n})));
    }
    at::Tensor dying = at::randn({n, n}, at::kDouble);
    dying.narrow(1, n - 3, 3).mul_(1e-40);
    ExpectLikeSingularValues(dying);
  }
  ExpectLikeSingularValues(WithSingularValues(at::cat({at::ones({5}, at::kDouble), at::zeros({20}, at::kDouble)})));
  ExpectLikeSingularValues(1e120 * at::randn({12, 12}, at::kDouble));
  ExpectLikeSingularValues(1e-120 * at::randn({12, 12}, at::kDouble));
}

TEST(NuclearNorm, ReadsPartOfALargerMatrix) {
  at::manual_seed(3);
  const at::Tensor gram = at::randn({4, 24, 4, 24}, at::kDouble);
  ExpectLikeSingularValues(gram.select(0, 1).select(1, 3));
}

TEST(NuclearNorm, OfNothingIsZeroAndOfWhatIsNotFiniteIsNot) {
  EXPECT_EQ(NuclearNorm(at::zeros({6, 6}, at::kDouble)), 0);
  at::Tensor matrix = at::ones({6, 6}, at::kDouble);
  matrix[2][3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(NuclearNorm(matrix)));
  matrix[2][3] = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(NuclearNorm(matrix)));
}

}  // namespace
}  // namespace regroup
