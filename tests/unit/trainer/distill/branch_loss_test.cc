#include "trainer/distill/branch_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

at::Tensor Rows(std::vector<double> values, int64_t windows, int64_t tokens) {
  return at::tensor(values, at::kDouble).to(at::kFloat).view({windows, tokens, 2});
}

TEST(BranchLoss, IsTheErrorOfEachWindowRelativeToItsVariance) {
  // The first window has the mean (2, 0), the variance (1 + 1) / 2 = 1 and the error (4 + 0) / 2 = 2.
  // The second one has the mean (0, 3), the variance (9 + 9) / 2 = 9 and the error (0 + 9) / 2 = 4.5.
  const at::Tensor teacher = Rows({1, 0, 3, 0, 0, 0, 0, 6}, 2, 2);
  const at::Tensor student = Rows({1, 2, 3, 0, 0, 0, 3, 6}, 2, 2);
  EXPECT_FLOAT_EQ(BranchLoss({student}, {teacher}, 1).item<float>(), 2 + 0.5);
  EXPECT_FLOAT_EQ(BranchLoss({student, teacher}, {teacher, teacher}, 0.5).item<float>(), 1.25);
}

TEST(BranchLoss, LayersMayCoverDifferentPartsOfAWindow) {
  const at::Tensor encoder = Rows({1, 0, 3, 0}, 1, 2), decoder = Rows({0, 0, 0, 3, 0, 6}, 1, 3);
  EXPECT_FLOAT_EQ(BranchLoss({encoder + 1, decoder}, {encoder, decoder}, 1).item<float>(), 2);
}

TEST(BranchLoss, GradientsReachTheStudentAndAreThoseOfTheDefinition) {
  at::manual_seed(3);
  at::Tensor teacher = at::randn({3, 5, 4}).set_requires_grad(true);
  at::Tensor student = at::randn({3, 5, 4}).set_requires_grad(true);
  BranchLoss({student}, {teacher}, 0.25).backward();
  EXPECT_FALSE(teacher.grad().defined());
  const at::Tensor target = teacher.detach(), own = student.detach();
  for (int64_t window = 0; window < 3; ++window) {
    const at::Tensor centred = target[window] - target[window].mean(0);
    const at::Tensor expected = 0.25 * 2 * (own[window] - target[window]) / centred.square().sum();
    EXPECT_LT((student.grad()[window] - expected).abs().max().item<double>(), 1e-6) << window;
  }
}

TEST(BranchLoss, LeavesOutWindowsInWhichTheTeacherDoesNotVary) {
  at::Tensor student = Rows({1, 2, 3, 0, 1, 1, 1, 1}, 2, 2).set_requires_grad(true);
  const at::Tensor teacher = Rows({1, 0, 3, 0, 5, 5, 5, 5}, 2, 2);
  const at::Tensor loss = BranchLoss({student}, {teacher}, 1);
  EXPECT_FLOAT_EQ(loss.item<float>(), 2);
  loss.backward();
  EXPECT_TRUE(at::equal(student.grad()[1], at::zeros({2, 2})));
}

TEST(BranchLoss, RefusesModelsOfDifferentDepth) { EXPECT_ANY_THROW(BranchLoss({at::ones({1, 2, 2})}, {}, 1)); }

}  // namespace
}  // namespace regroup
