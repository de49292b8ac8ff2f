#include "trainer/distill/branch_loss.h"

#include <ATen/ATen.h>

namespace regroup {

at::Tensor BranchLoss(const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& teacher, double weight) {
  TORCH_CHECK(student.size() == teacher.size() && !student.empty(), "the models have ", student.size(), " and ",
              teacher.size(), " layers");
  at::Tensor loss;
  for (size_t layer = 0; layer < student.size(); ++layer) {
    const at::Tensor target = teacher[layer].detach().to(at::kFloat);
    const at::Tensor variance = (target - target.mean(1, /*keepdim=*/true)).square().sum(-1).mean(1);
    const at::Tensor error = (student[layer].to(at::kFloat) - target).square().sum(-1).mean(1);
    const at::Tensor varies = variance > 0;
    const at::Tensor share = at::where(varies, error / at::where(varies, variance, at::ones_like(variance)), 0).sum();
    loss = loss.defined() ? loss + share : share;
  }
  return loss * weight;
}

}  // namespace regroup
