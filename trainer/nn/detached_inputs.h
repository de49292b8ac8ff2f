// The inputs of a part of the forward pass that its backward pass runs again.
#pragma once

#include <torch/csrc/autograd/variable.h>

#include <utility>

namespace regroup {

struct DetachedInputs {
  /// Cuts `saved` off from the graph; those that have a gradient are its leaves.
  explicit DetachedInputs(torch::autograd::variable_list saved) : inputs(std::move(saved)) {
    for (at::Tensor& input : inputs) {
      const bool has_gradient = input.requires_grad();
      input = input.detach().set_requires_grad(has_gradient);
      if (has_gradient) leaves.push_back(input);
    }
  }

  /// Returns one gradient for each input, undefined where it has none; `found` begins with those of the leaves.
  torch::autograd::variable_list GradientsOf(const torch::autograd::variable_list& found) const {
    torch::autograd::variable_list gradients;
    size_t next = 0;
    for (const at::Tensor& input : inputs) gradients.push_back(input.requires_grad() ? found[next++] : at::Tensor());
    return gradients;
  }

  torch::autograd::variable_list inputs, leaves;
};

}  // namespace regroup
