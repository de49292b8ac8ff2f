#include "trainer/alignment/similarities/pairwise.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace regroup {
namespace {

at::Tensor RandomRotation(int64_t size) { return std::get<0>(at::linalg_qr(at::randn({size, size}, at::kDouble))); }

/// A Gram whose block (i, j) has the singular values of block (j, i), `values` times (1 + i + j).
at::Tensor GramWithSingularValues(int64_t heads, const at::Tensor& values) {
  const int64_t width = values.size(0);
  at::Tensor gram = at::zeros({heads, width, heads, width}, at::kDouble);
  for (int64_t i = 0; i < heads; ++i) {
    for (int64_t j = i; j < heads; ++j) {
      const at::Tensor block = (RandomRotation(width) * values * (1 + i + j)).mm(RandomRotation(width));
      gram.select(0, i).select(1, j).copy_(block);
      gram.select(0, j).select(1, i).copy_(block.t());
    }
  }
  return gram;
}

void ExpectSumsOfSingularValues(const at::Tensor& values) {
  constexpr int64_t kHeads = 4;
  const at::Tensor norms = BlockNuclearNorms(GramWithSingularValues(kHeads, values));
  const double sum = values.sum().item<double>();
  for (int64_t i = 0; i < kHeads; ++i) {
    for (int64_t j = 0; j < kHeads; ++j) {
      const double expected = i == j ? 0 : sum * static_cast<double>(1 + i + j);
      EXPECT_NEAR(norms[i][j].item<double>(), expected, 1e-11 * expected) << values.size(0) << ": " << i << ", " << j;
    }
  }
}

TEST(Pairwise, NuclearNormsAreSumsOfSingularValues) {
  at::manual_seed(1);
  for (const int64_t width : {1, 2, 3, 8, 17, 64, 100, 128}) {
    ExpectSumsOfSingularValues(at::rand({width}, at::kDouble) + 0.1);
  }
}

TEST(Pairwise, NuclearNormsTakeEverySpectrum) {
  at::manual_seed(2);
  ExpectSumsOfSingularValues(at::logspace(0, -12, 40, 10.0, at::kDouble));
  ExpectSumsOfSingularValues(at::ones({33}, at::kDouble));
  ExpectSumsOfSingularValues(at::cat({at::ones({5}, at::kDouble), at::zeros({20}, at::kDouble)}));
  ExpectSumsOfSingularValues(1e120 * at::rand({12}, at::kDouble));
  ExpectSumsOfSingularValues(1e-120 * at::rand({12}, at::kDouble));
  ExpectSumsOfSingularValues(at::zeros({6}, at::kDouble));
}

TEST(Pairwise, NuclearNormsOfWhatIsNotFiniteAreNotNumbers) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double entry : {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity, 1e180}) {
    at::Tensor gram = at::ones({2, 6, 2, 6}, at::kDouble);
    gram[0][2][1][3] = entry;
    EXPECT_TRUE(std::isnan(BlockNuclearNorms(gram)[0][1].item<double>())) << entry;
  }
}

TEST(Pairwise, HeadsWithoutCoordinatesHaveNothingInCommon) {
  EXPECT_TRUE(BlockNuclearNorms(at::zeros({3, 0, 3, 0}, at::kDouble)).equal(at::zeros({3, 3}, at::kDouble)));
}

}  // namespace
}  // namespace regroup
