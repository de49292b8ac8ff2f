#include "trainer/nn/few_rows_linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(FewRowsLinearTest, IsTheMatrixProductInFloat64) {
  at::manual_seed(2);
  for (const int64_t rows : {1, 3, 4, 9, 16}) {
    for (const int64_t outputs : {1, 5, 64, 131}) {
      const at::Tensor x = at::randn({rows, 1, 48});
      const at::Tensor weight = at::randn({outputs, 48});
      ASSERT_TRUE(HasFewRows(x, weight));
      const at::Tensor y = LinearOfFewRows(x, weight);
      const at::Tensor expected = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
      ASSERT_EQ(y.sizes(), expected.sizes());
      EXPECT_LT((y - expected).abs().max().item<double>(), 2e-5) << rows << " rows, " << outputs << " outputs";
    }
  }
}

TEST(FewRowsLinearTest, TakesRowsThatDoNotLieTogether) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({32, 6}).t();
  const at::Tensor weight = at::randn({10, 32});
  EXPECT_TRUE(at::allclose(LinearOfFewRows(x, weight), at::linear(x, weight), 1e-5, 1e-5));
}

TEST(FewRowsLinearTest, LeavesManyRowsOtherTypesAndTrainingToTheGeneralProduct) {
  const at::Tensor weight = at::randn({10, 32});
  EXPECT_FALSE(HasFewRows(at::randn({17, 32}), weight));
  EXPECT_FALSE(HasFewRows(at::randn({2, 32}, at::kDouble), weight.to(at::kDouble)));
  EXPECT_FALSE(HasFewRows(at::randn({2, 20}), at::randn({10, 20})));
  EXPECT_FALSE(HasFewRows(at::randn({2, 10}), weight.t()));
  const at::Tensor trained = weight.clone().requires_grad_();
  EXPECT_FALSE(HasFewRows(at::randn({2, 32}), trained));
  at::NoGradGuard no_gradients;
  EXPECT_TRUE(HasFewRows(at::randn({2, 32}), trained));
}

}  // namespace
}  // namespace regroup
