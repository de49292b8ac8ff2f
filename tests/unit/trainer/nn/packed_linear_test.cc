#include "trainer/nn/packed_linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(PackedLinearTest, IsTheMatrixProductInFloat64) {
  at::manual_seed(2);
  for (int64_t rows = 1; rows <= 18; ++rows) {
    for (const int64_t outputs : {1, 5, 64, 131}) {
      const at::Tensor x = at::randn({rows, 1, 45});
      const at::Tensor weight = at::randn({outputs, 45});
      const at::Tensor y = LinearOfPacked(x, PackWeight(weight));
      const at::Tensor expected = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
      ASSERT_EQ(y.sizes(), expected.sizes());
      EXPECT_LT((y - expected).abs().max().item<double>(), 2e-5) << rows << " rows, " << outputs << " outputs";
    }
  }
}

TEST(PackedLinearTest, TakesRowsAndWeightsThatDoNotLieTogether) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({32, 6}).t();
  const at::Tensor weight = at::randn({32, 40}).t();
  EXPECT_TRUE(at::allclose(LinearOfPacked(x, PackWeight(weight)), at::linear(x, weight), 1e-5, 1e-5));
}

TEST(PackedLinearTest, UnpacksToTheSameWeight) {
  const at::Tensor weight = at::randn({70, 9});
  EXPECT_TRUE(UnpackWeight(PackWeight(weight)).equal(weight));
}

TEST(PackedLinearTest, PacksNothingButFloat32OnTheProcessor) {
  EXPECT_TRUE(CanPack(at::randn({10, 32})));
  EXPECT_FALSE(CanPack(at::randn({10, 32}, at::kDouble)));
  EXPECT_FALSE(CanPack(at::randn({10, 32}).to(at::kBFloat16)));
  EXPECT_FALSE(CanPack(at::randn({10})));
}

}  // namespace
}  // namespace regroup
