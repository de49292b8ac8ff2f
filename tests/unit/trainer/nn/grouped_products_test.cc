#include "trainer/nn/grouped_products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

struct ShapeCase {
  int64_t batch, groups, queries, tokens, width;
};

class GroupedProductsTest : public testing::TestWithParam<ShapeCase> {
 protected:
  static void SetUpTestSuite() { at::manual_seed(9); }
  static constexpr int64_t kCapacity = 112;
};

at::Tensor BlocksOf(const at::Tensor& keys_BGTd) {
  return keys_BGTd.unflatten(2, {-1, kKeyBlock}).transpose(3, 4).contiguous();
}

void ExpectNear(const at::Tensor& actual, const at::Tensor& expected) {
  ASSERT_EQ(actual.sizes(), expected.sizes());
  const double largest = expected.abs().max().item<double>();
  EXPECT_LT((actual.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5 * largest);
}

TEST_P(GroupedProductsTest, AreTheMatrixProductsInFloat64) {
  const auto [batch, groups, queries, tokens, width] = GetParam();
  const at::Tensor query = at::randn({batch, groups, queries, width});
  const at::Tensor keys = at::randn({batch, groups, kCapacity, width});
  const at::Tensor values = at::randn({batch, groups, kCapacity, width});
  const at::Tensor used_keys = keys.narrow(2, 0, tokens).to(at::kDouble);
  const at::Tensor scores = ScoreKeys(query, BlocksOf(keys), tokens);
  ExpectNear(scores, at::matmul(query.to(at::kDouble), used_keys.transpose(2, 3)));
  const at::Tensor weights = at::softmax(scores, -1);
  ExpectNear(WeighValues(weights, values),
             at::matmul(weights.to(at::kDouble), values.narrow(2, 0, tokens).to(at::kDouble)));
}

INSTANTIATE_TEST_SUITE_P(Shapes, GroupedProductsTest,
                         testing::Values(ShapeCase{1, 1, 1, 1, 16}, ShapeCase{2, 3, 1, 100, 64},
                                         ShapeCase{1, 1, 16, 112, 128}, ShapeCase{3, 2, 7, 33, 80},
                                         ShapeCase{1, 2, 13, 97, 32}, ShapeCase{2, 1, 8, 15, 96}));

TEST(GroupedProductsSupportTest, NeedsFloat32OnCpuAndWholeRegisters) {
  EXPECT_TRUE(CanMultiplyGrouped(64, at::kFloat, at::kCPU));
  EXPECT_FALSE(CanMultiplyGrouped(72, at::kFloat, at::kCPU));
  EXPECT_FALSE(CanMultiplyGrouped(64, at::kBFloat16, at::kCPU));
  EXPECT_FALSE(CanMultiplyGrouped(64, at::kFloat, at::Device(at::kCUDA, 0)));
}

}  // namespace
}  // namespace regroup
